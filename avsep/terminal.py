"""What reaches a terminal: lines without anything that it would obey, in an encoding it has."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap

from avsep.errors import printable


def set_up_streams() -> None:
    """Escape what the encoding of the terminal lacks, instead of an error in the middle."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def echo(text: object = "", *, err: bool = False) -> None:
    """Print lines; control characters, those that turn the direction of writing, and bytes that are
    no text are escaped as JSON escapes them. Names of files may hold all of these.
    """
    shown = "".join(c if c in "\n\t" or c.isprintable() else json.dumps(c)[1:-1] for c in str(text))
    # In one piece: processes that work side by side would write their lines into each other.
    print(f"{shown}\n", end="", file=sys.stderr if err else sys.stdout, flush=True)


def echo_wrapped(text: str) -> None:
    """Print a paragraph; on a terminal no word of it is broken at the end of a line."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(
            text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    echo(text)


def cell(value: object) -> str:
    """A value as one line for a table of rich, which would take `[red]` for a colour."""
    from rich.markup import escape

    return escape(printable(str(value)))
