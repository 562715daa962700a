"""The files of a corpus on this machine: found, linked into `data/raw`, hashed and written."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.errors import ItemError, Reason, UsageError, disk_item_error
from avsep.files import atomic_path, read_bounded, sha256_file


def fingerprint_of(path: Path) -> str:
    """Size and time of a file as text, which changes when the file does; empty if it is missing."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: the path contains a NUL
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def link(clip: SourceClip, raw: Path) -> FileInfo:
    """Link the file of a clip into `raw`.

    Raises:
        ItemError: the file is missing or cannot be read.
    """
    source, target = Path(clip.source), raw / clip.path
    info = read_file_info(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(source)
        temporary.replace(target)
    except OSError as error:
        raise item_error(error, target) from error
    return info


def is_linked(clip: SourceClip, raw: Path) -> bool:
    """Whether `raw` already has the link to the file of a clip."""
    target = raw / clip.path
    return target.is_symlink() and str(target.readlink()) == clip.source


def read_file_info(path: Path) -> FileInfo:
    """Hash a file and check that it does not change meanwhile.

    Raises:
        ItemError: the file is missing, not a regular file, unreadable, or changed while it was
            read.
    """
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise ItemError(Reason.UNREADABLE, f"{path} is not a regular file.")
        digest = sha256_file(path)
        after = path.stat()
    except OSError as error:
        raise item_error(error, path) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ItemError(Reason.FILE_CHANGED, f"{path} changed while it was read.")
    return FileInfo(digest, after.st_size)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of a small file that belongs to a clip.

    Raises:
        ItemError: the file is missing, cannot be read, is not a regular file, or is too large.
    """
    try:
        return read_bounded(path, max_bytes)
    except OSError as error:
        raise item_error(error, path) from error
    except ValueError as error:
        raise ItemError(Reason.BAD_ANNOTATION, f"{path}: {error}.") from error


def read_list(path: Path, max_bytes: int) -> str:
    """The text of a list that comes with a corpus or that the user wrote.

    Raises:
        UsageError: the file is missing, unreadable or too large, or is not text in UTF-8.
    """
    try:
        return read_bounded(path, max_bytes).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8: {error}.") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}; is it the right one?") from error


def write_file(path: Path, chunks: Iterable[bytes]) -> FileInfo:
    """Write a file in chunks, atomically.

    Raises:
        ItemError: the file cannot be written. An error of `chunks` goes through, and then nothing
            is written either.
    """
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            for chunk in chunks:
                handle.write(chunk)
                digest.update(chunk)
                size_bytes += len(chunk)
    except OSError as error:
        raise item_error(error, path) from error
    return FileInfo(digest.hexdigest(), size_bytes)


def item_error(error: OSError, path: Path) -> ItemError:
    """The error of an item whose file cannot be used."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ItemError(Reason.FILE_MISSING, f"{path} is missing, or links to a missing file.")
    if error.errno not in (errno.EACCES, errno.EPERM) and (fault := disk_item_error(error)):
        return fault
    detail = os.strerror(error.errno) if error.errno else str(error)
    return ItemError(Reason.UNREADABLE, f"{path} cannot be read: {detail}.")
