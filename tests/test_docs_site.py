"""The site builds without network, loads nothing from others, and its commands exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from pipeline.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The calls of `avsep` in the fenced shell blocks of a page, as words."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words[:1] == ["avsep"]]


CALLS = sorted({tuple(words) for page in PAGES for words in commands(page)})


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_every_command_in_the_documents_exists_with_its_options(words):
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command, info_name="avsep")
    rest = list(words)
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"avsep has no command {name}"
        command = command.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    command.parse_args(context, rest)  # raises for unknown options and missing arguments


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_loads_nothing_from_others(tmp_path):
    pytest.importorskip("mkdocs")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for name in ("index", "shards", "scale", "mixtures"):
        page = (site / f"{name}.html").read_text("utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page)
        assert loaded == [], name
