"""Check the file of a raw clip against its row in the raw table."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from avsep.errors import ItemError, Reason
from avsep.files import sha256_file
from avsep.schema import RawClip

HINT = "`avsep run download` gets it"


def check_raw_file(raw: RawClip, folder: Path) -> Path:
    """The path of a raw clip's file, once its size and sha256 agree with the table.

    Args:
        raw: row of the raw table or of `clips.parquet`.
        folder: folder that the row's path is relative to.

    Raises:
        ItemError: the file is missing, changed, unreadable, or outside the folder.
    """
    relative = PurePosixPath(raw.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ItemError(Reason.UNREADABLE, f"the path {raw.path!r} leads out of the raw folder.")
    path = folder / relative
    try:
        same = path.stat().st_size == raw.size_bytes and sha256_file(path) == raw.sha256
    except FileNotFoundError as error:
        raise ItemError(Reason.FILE_MISSING, f"{raw.path} is missing; {HINT}.") from error
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{raw.path}: {error.strerror}.") from error
    if not same:
        raise ItemError(
            Reason.FILE_CHANGED,
            f"{raw.path} is not the file in the raw table: its size or sha256 differs; {HINT}.",
        )
    return path
