"""`avsep init` makes a project that DVC can run."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from avsep.errors import UsageError
from avsep.workspace import find_project
from pipeline.cli.init import init
from pipeline.config import load_configs
from pipeline.stages import STAGES


@pytest.mark.slow
def test_a_new_project_has_valid_settings_and_stages_that_dvc_accepts(tmp_path: Path, capsys):
    folder = tmp_path / "my project"
    init(folder, profile="folder")
    assert find_project(folder).root == folder
    assert load_configs(folder / "params.yaml")["download"].corpus == "folder"
    assert list(yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]) == list(STAGES)
    assert f"cd '{folder}' && dvc repro" in capsys.readouterr().out
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Outputs are missing, and so is data that earlier stages make; nothing else is.
    missing = [line for line in done.stdout.splitlines() if "deleted" in line]
    assert missing
    assert all("data/" in line for line in missing), done.stdout
    asked = "from dvc.analytics import is_enabled; print(is_enabled())"
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert told.stdout == "False\n", "DVC reports its use, " + told.stderr


@pytest.mark.parametrize("content", ["file", "folder with a file"])
def test_nothing_is_overwritten(tmp_path: Path, content):
    target = tmp_path / "taken"
    if content == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").touch()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="is not an empty folder"):
        init(target, profile="demo")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_unknown_profile_is_named_and_nothing_is_made(tmp_path: Path):
    with pytest.raises(UsageError, match=r"no profile 'nosuch'; there are .*demo, demo-long"):
        init(tmp_path / "new", profile="nosuch")
    assert not (tmp_path / "new").exists()
