"""The output folder, written atomically."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avsep.errors import CheckError, UsageError, disk_fault, is_full
from avsep.files import MAX_NAME_BYTES, sha256_text, shortened, temporary_sibling

LISTING = "tracks.json"


def default_output(video: Path) -> Path:
    """The folder `<stem>_output` beside a video; a stem that leaves no room for it is shortened."""
    ending = "_output"
    if len(os.fsencode(video.stem)) > MAX_NAME_BYTES - len(ending):
        ending = f"-{sha256_text(video.stem)[:8]}{ending}"  # two long names may start alike
    return video.with_name(shortened(video.stem, MAX_NAME_BYTES - len(ending)) + ending)


@contextlib.contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; its files move to `target` when the block succeeds.

    In an existing folder, the files of an earlier separation (which its `tracks.json` names) are
    replaced and all others stay.

    Raises:
        UsageError: `target` cannot be written or is a file.
        CheckError: the disk is full or fails.
    """
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder for the output.")
    new_parents = _missing_parents(target)
    temporary = temporary_sibling(target)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        _remove_empty(new_parents)
        why = disk_fault(error) or error.strerror
        raise UsageError(f"{target} cannot be written: {why}.") from error
    try:
        yield temporary
        _put_in_place(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(new_parents)
        if is_full(error):
            raise CheckError(f"{target} cannot be written: {disk_fault(error)}.") from error
        raise


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    new = {path.name for path in temporary.iterdir()}
    stale = _earlier_files(target) - new
    # The listing comes last, so that the files it names exist.
    for name in sorted(new, key=lambda name: (name == LISTING, name)):
        (temporary / name).replace(target / name)
    for name in stale:
        (target / name).unlink(missing_ok=True)
    temporary.rmdir()


def _earlier_files(target: Path) -> set[str]:
    """The names of the files of an earlier separation."""
    names = read_head(target).get("files", [])
    return {str(name) for name in names if Path(str(name)).name == str(name)}


def read_head(target: Path) -> dict[str, Any]:
    """The first line of the listing of an earlier separation; empty where there is none."""
    try:
        with (target / LISTING).open(encoding="utf-8") as file:
            head = json.loads(file.readline(1 << 16).rstrip().removesuffix("[") + "[]}")
    except (OSError, ValueError):
        return {}
    return head if isinstance(head, dict) and isinstance(head.get("files"), list) else {}


def _missing_parents(target: Path) -> list[Path]:
    """The parents of the target that do not exist yet, innermost first."""
    return [parent for parent in target.parents if not parent.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
