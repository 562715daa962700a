"""`avsep profile`: write `params.yaml` from a named profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import UsageError
from avsep.files import write_text
from pipeline.config import PARAMS, load_configs

profile_app = typer.Typer(help="Ready settings for a corpus and a machine.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--root", help="The project folder.")]


def _profiles(root: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted((root / "profiles").glob("*.yaml"))}


def _headline(path: Path) -> str:
    """What the profile is for: the first comment line of its file."""
    with path.open(encoding="utf-8") as lines:
        return next(lines, "").lstrip("# ").strip()


@profile_app.command("list")
def list_profiles(root: Root = Path()) -> None:
    """Name the profiles and what each is for."""
    for name, path in _profiles(root).items():
        typer.echo(f"{name:12} {_headline(path)}")


@profile_app.command("use")
def use_profile(
    name: Annotated[str, typer.Argument(help="A profile's name; `avsep profile list` shows all.")],
    root: Root = Path(),
) -> None:
    """Write params.yaml from a profile, after checking every value in it."""
    profiles = _profiles(root)
    if name not in profiles:
        raise UsageError(f"there is no profile {name!r}; there are {', '.join(profiles)}.")
    load_configs(profiles[name])
    write_text(root / PARAMS, profiles[name].read_text("utf-8"))
    typer.echo(f"params.yaml is now the profile {name}.")
