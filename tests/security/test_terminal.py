"""Names of files reach the terminal without anything that it would obey."""

import pytest
from typer.testing import CliRunner

from avsep.cli.app import app

NAME = "bad\x1b[31m\x07\u202e\nname"


@pytest.mark.parametrize("command", [["verify"], ["convert-landmarks", "--out", "out"]])
def test_problems_name_files_as_one_plain_line(tmp_path, command):
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / f"{NAME}.pkl").write_bytes(b"no pickle")
    result = CliRunner().invoke(app, [*command, str(folder)], color=True)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines
    assert all(line.isprintable() for line in lines), lines
    assert "bad\\x1b[31m" in result.stderr
