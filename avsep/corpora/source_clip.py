"""What a corpus offers: raw clips that `download` brings into `data/raw`."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsep.corpora.archives import Member
from avsep.errors import ItemError, Reason
from avsep.files import atomic_path, sha256_file
from avsep.schema import RawClip


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A raw clip before it lies in `data/raw`; the fields are those of `RawClip`.

    Attributes:
        clip_id: of the clip.
        corpus: which corpus offers it.
        speaker: speaker id.
        group: related speakers.
        gender: `f`, `m` or empty.
        split: `train`, `val`, `test`.
        path: where it will lie, relative to `data/raw`.
        licence: SPDX id or a short text.
        redistributable: whether others may have it.
        text: transcript, or empty.
        source: where it comes from: a file, or empty for one that is made here.
        stamp: changes when the source does; part of the settings of its batch.
        video: id of the video or programme, or empty.
        origin: its name inside the corpus, or empty.
        member: where in an archive it is, where it comes from one.
        note: file of its annotation, or empty.
        note_member: likewise for an annotation in an archive.
    """

    clip_id: str
    corpus: str
    speaker: str
    group: str
    gender: str
    split: str
    path: str
    licence: str = ""
    redistributable: bool = False
    text: str = ""
    source: str = ""
    stamp: str = ""
    video: str = ""
    origin: str = ""
    member: Member | None = None
    note: str = ""
    note_member: Member | None = None

    def raw_clip(self, content: Content) -> RawClip:
        """The row of the raw table, once the file is there."""
        values: dict[str, Any] = {
            name: value for name, value in vars(self).items() if name not in _NOT_IN_THE_TABLE
        }
        if content.notes:
            values |= vars(content.notes) | {"text": content.notes.text or self.text}
        return RawClip(**values, sha256=content.sha256, size_bytes=content.size_bytes)


_NOT_IN_THE_TABLE = frozenset({"source", "stamp", "member", "note", "note_member"})


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What the corpus says of one clip; see `RawClip`.

    Attributes:
        annotation: scores by name.
        text: transcript.
        words: of it.
        word_times_s: two a word.
    """

    annotation: dict[str, float] = field(default_factory=dict)
    text: str = ""
    words: tuple[str, ...] = ()
    word_times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a raw file holds.

    Attributes:
        sha256: of its bytes.
        size_bytes: of the file.
        notes: what the corpus says of it, where it says anything.
    """

    sha256: str
    size_bytes: int
    notes: Notes | None = None


def read_content(path: Path) -> Content:
    """Hash a file that must not change meanwhile.

    Raises:
        ItemError: missing, no regular file, unreadable, or changed while it was read.
    """
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise ItemError(Reason.UNREADABLE, f"{path} is no regular file.")
        digest = sha256_file(path)
        after = path.stat()
    except OSError as error:
        raise item_error(error, path) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ItemError(Reason.FILE_CHANGED, f"{path} changed while it was read.")
    return Content(digest, after.st_size)


def write_content(path: Path, pieces: Iterable[bytes]) -> Content:
    """Write a file piece by piece, atomically; returns what it holds.

    Raises:
        ItemError: it cannot be written; or whatever the pieces raise, and nothing is written.
    """
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            for piece in pieces:
                handle.write(piece)
                digest.update(piece)
                size_bytes += len(piece)
    except OSError as error:
        raise item_error(error, path) from error
    return Content(digest.hexdigest(), size_bytes)


def item_error(error: OSError, path: Path) -> ItemError:
    """The reason for an item whose file could not be used."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ItemError(Reason.FILE_MISSING, f"{path} is missing, or a link to nothing.")
    if error.errno == errno.ENOSPC:
        return ItemError(Reason.OUT_OF_SPACE, "no space left on the device")
    detail = os.strerror(error.errno) if error.errno else str(error)
    return ItemError(Reason.UNREADABLE, f"{path} cannot be read: {detail}.")
