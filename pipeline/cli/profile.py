"""`avsep profile`: write `params.yaml` from a named profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.options import Root
from avsep.errors import UsageError
from avsep.files import write_text
from avsep.terminal import echo
from avsep.workspace import PARAMS, find_project
from pipeline.config import load_configs

profile_app = typer.Typer(help="Ready settings for a corpus and a machine.", no_args_is_help=True)


def _profiles(root: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted((root / "profiles").glob("*.yaml"))}


def _headline(path: Path) -> str:
    """What the profile is for: the first comment line of its file."""
    with path.open(encoding="utf-8") as lines:
        return next(lines, "").lstrip("# ").strip()


@profile_app.command("list")
def list_profiles(root: Root = None) -> None:
    """Name the profiles and what each is for."""
    profiles = _profiles(find_project(root).root)
    width = max(map(len, profiles), default=0)
    for name, path in profiles.items():
        echo(f"{name:{width}}  {_headline(path)}")


@profile_app.command("use")
def use_profile(
    name: Annotated[str, typer.Argument(help="A profile's name; `avsep profile list` shows all.")],
    root: Root = None,
) -> None:
    """Write params.yaml from a profile, after checking every value in it."""
    folder = find_project(root).root
    profiles = _profiles(folder)
    if name not in profiles:
        raise UsageError(f"there is no profile {name!r}; there are {', '.join(profiles)}.")
    load_configs(profiles[name])
    write_text(folder / PARAMS, profiles[name].read_text("utf-8"))
    echo(f"params.yaml is now the profile {name}.")
