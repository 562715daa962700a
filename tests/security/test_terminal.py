"""Names of files reach the terminal without anything that it would obey."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import Reason
from avsep.outcome import Outcome
from avsep.terminal import cell, echo
from pipeline.execution.ledger import Ledger

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


def test_what_is_printed_is_escaped_and_stays_json(capsys):
    text = "a\x1b]0;x\x07\r\x9b31m\u202e\u2028\u2066\u200f\udcff\U000e0041\tb\nüß漢"
    echo(text)
    echo(json.dumps({"name": text}, ensure_ascii=False), err=True)
    said = capsys.readouterr()
    assert all(line.replace("\t", "").isprintable() for line in said.out.split("\n"))
    assert said.out.endswith("\tb\nüß漢\n")
    assert json.loads(said.err)["name"] == text
    assert cell("[red]x[/red]\x1b") == "\\[red]x\\[/red]\\x1b"


@pytest.mark.parametrize("words", [["failures"], ["show", "x"], ["summary"]])
def test_the_ledger_is_shown_as_plain_lines(tmp_path, words):
    (tmp_path / "params.yaml").write_text("{}")
    message = f"{NAME}: no"
    rows = [Outcome.ended("x", Reason.UNDECODABLE, message), Outcome.done(f"{NAME}-t0")]
    ledger = Ledger(tmp_path / "data" / "ledger.sqlite")
    for stage in ("clean", NAME):
        ledger.record(stage, rows)
    result = CliRunner().invoke(app, ["ledger", *words, "--root", str(tmp_path)], color=True)
    assert result.exit_code == 0, repr(result.exception)
    lines = result.output.split("\n")
    assert all(line.replace("\t", "").isprintable() for line in lines), lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["results"], ["ledger", "failures"], ["ledger", "su\x1bmmary\u202e\nx"], ["\udcff"]]
)
def test_a_terminal_that_knows_ascii_alone_gets_text(tmp_path, words):
    (tmp_path / "params.yaml").write_text("{}")
    Ledger(tmp_path / "data" / "ledger.sqlite").record(
        "clean", [Outcome.ended("ü漢", Reason.SILENT, "漢\u202e")]
    )
    done = subprocess.run(
        [sys.executable, "-m", "avsep", *words], cwd=tmp_path, capture_output=True, check=False,
        env=os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in said, said
    assert words != ["results"] or "\\" not in said, said
    assert done.returncode in (0, 2)
    assert all(line.replace("\t", "").isprintable() for line in said.split("\n")), said
