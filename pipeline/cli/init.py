"""`avsep init`: a new project folder that uses this installation."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

import pipeline
from avsep.errors import CheckError, UsageError
from avsep.files import write_text
from avsep.terminal import echo
from avsep.workspace import PARAMS
from pipeline.config import load_configs

HOME = Path(pipeline.__file__).parents[1]  # the clone that is installed
COPIED = (".dvc/config", ".dvc/plots", ".dvcignore", ".gitignore", "profiles")


def init(
    directory: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    profile: Annotated[str, typer.Option(help="The settings to start with.")] = "demo",
) -> None:
    """Make a project in a folder of its own: settings, stages and an empty DVC repository."""
    source = HOME / "profiles" / f"{profile}.yaml"
    if not source.is_file():
        names = ", ".join(sorted(path.stem for path in source.parent.glob("*.yaml")))
        raise UsageError(f"there is no profile {profile!r}; there are {names}.")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not an empty folder; name a new one.")
    if shutil.which("git") is None:
        raise CheckError("git is missing, which DVC needs; install it first.")
    load_configs(source)
    for name in COPIED:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (HOME / name).is_dir():
            shutil.copytree(HOME / name, target)
        else:
            shutil.copyfile(HOME / name, target)
    stages = yaml.safe_load((HOME / "dvc.yaml").read_text("utf-8"))
    write_text(directory / "dvc.yaml", _without_code(stages))
    write_text(directory / PARAMS, source.read_text("utf-8"))
    subprocess.run(["git", "init", "-q", str(directory)], check=True, timeout=60)  # noqa: S607
    echo(f"{directory} is an avsep project with the profile {profile}; next:")
    echo(f"  cd {shlex.quote(str(directory))} && dvc repro")


def _without_code(stages: dict[str, Any]) -> str:
    """`dvc.yaml` without its dependencies on source files, which the project does not hold."""
    for stage in stages["stages"].values():
        spec = stage.get("do", stage)
        spec["deps"] = [dep for dep in spec.get("deps", []) if not _is_code(dep)]
    head = "# The stages of avsep. Its code is installed elsewhere and is not tracked here.\n"
    return head + yaml.safe_dump(stages, sort_keys=False, width=100)


def _is_code(dependency: str) -> bool:
    return dependency.startswith(("avsep/", "pipeline/"))
