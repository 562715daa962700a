"""`avsep convert-landmarks`: published landmark files as files of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import CheckError, ItemError, UsageError, printable
from avsep.terminal import echo


def convert_landmarks(
    source: Annotated[Path, typer.Argument(help="A folder of .pkl files of landmarks.")],
    out: Annotated[Path, typer.Option(help="The folder to write the .npy files to.")],
) -> None:
    """Write each landmark file as .npy, which `extract` reads in place of the .pkl."""
    from avsep.faces.landmark_files import read_landmarks, write_npy
    from avsep.files import files_below

    if not source.is_dir():
        raise UsageError(f"{source} is not a folder.")
    failed = count = 0
    for name in files_below(source):
        if not name.endswith(".pkl"):
            continue
        try:
            write_npy((out / name).with_suffix(".npy"), read_landmarks(source / name))
        except ItemError as error:
            echo(printable(error.message), err=True)
            failed += 1
        count += 1
    if failed or not count:
        raise CheckError(f"{failed} of {count} landmark files in {source} could not be converted.")
    echo(f"{out}: {count} landmark files.")
