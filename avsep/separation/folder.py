"""The output folder: made aside, put in place whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from avsep.errors import CheckError, UsageError

LISTING = "tracks.json"


@contextlib.contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; its files move to `target` when the block succeeds.

    A folder that is there keeps what is not ours; the files of an earlier separation, which its
    `tracks.json` names, are replaced.

    Raises:
        UsageError: the place cannot be written to, or is a file.
        CheckError: the disk is full.
    """
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder for the output.")
    made = _missing_parents(target)
    aside = target.parent / f".{target.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        _remove_empty(made)
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        yield aside
        _put_in_place(aside, target)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        _remove_empty(made)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CheckError(f"the disk of {target.parent} is full.") from error
        raise


def _put_in_place(aside: Path, target: Path) -> None:
    if not target.exists():
        aside.rename(target)
        return
    new = {path.name for path in aside.iterdir()}
    stale = _earlier_files(target) - new
    # The listing goes last: it names files that are there.
    for name in sorted(new, key=lambda name: (name == LISTING, name)):
        (aside / name).replace(target / name)
    for name in stale:
        (target / name).unlink(missing_ok=True)
    aside.rmdir()


def _earlier_files(target: Path) -> set[str]:
    """The files of an earlier separation, by the first line of its listing."""
    try:
        with (target / LISTING).open(encoding="utf-8") as file:
            head = json.loads(file.readline(1 << 16).rstrip().removesuffix("[") + "[]}")
        return {str(name) for name in head["files"] if Path(str(name)).name == str(name)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _missing_parents(target: Path) -> list[Path]:
    """The folders that will have to be made for the target to have a parent, innermost first."""
    return [parent for parent in target.parents if not parent.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
