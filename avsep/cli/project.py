"""Commands of a project: the workflow offers them through entry points.

Those of `avsep.commands` stand beside the commands of the library, those of `avsep.bench` below
`avsep bench`.

The library does not import the workflow. Where that is not installed, or the installed package
of its name is somebody else's, each of the commands says in one sentence what it needs.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from avsep.errors import UsageError

GROUP, BENCH_GROUP = "avsep.commands", "avsep.bench"


class ProjectGroup(TyperGroup):
    """The commands of the library, and those of the project that is installed.

    Attributes:
        entry_points: the group of entry points that the project's commands are in.
    """

    entry_points = GROUP

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, sorted."""
        return sorted({*super().list_commands(ctx), *_found(self.entry_points)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None where there is none."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        entry = _found(self.entry_points).get(cmd_name)
        return None if entry is None else _loaded(entry)


def _found(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


class BenchGroup(ProjectGroup):
    """The benches of the library, and those of the project that is installed."""

    entry_points = BENCH_GROUP


def _loaded(entry: EntryPoint) -> Any:
    try:
        command = entry.load()
    except (ModuleNotFoundError, AttributeError) as error:
        ours = entry.module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] != ours:
            raise
        command = None
    app = command if isinstance(command, typer.Typer) else typer.Typer(add_completion=False)
    if command is None:
        _add_stub(app, entry.name)
    elif command is not app:
        app.command(entry.name)(command)
    found = typer.main.get_command(app)
    found.name = entry.name
    return found


def _add_stub(app: typer.Typer, name: str) -> None:
    @app.command(
        name,
        help="Needs a project: a clone of avsep.",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def needs_project(context: typer.Context) -> None:
        raise UsageError(
            f"`{context.command_path}` works in an avsep project, and only the library is installed"
            " here; clone the project and run `make install` in it."
        )
