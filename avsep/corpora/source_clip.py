"""What a corpus has: raw clips that `download` brings into `data/raw`."""

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
class SourceClip:
    """A raw clip before it lies in `data/raw`; the fields are those of `RawClip`.

    Attributes:
        clip_id: of the clip.
        corpus: which corpus has it.
        speaker: speaker id.
        group: related speakers.
        gender: `f`, `m` or empty.
        split: `train`, `val`, `test`.
        path: where it will lie, relative to `data/raw`.
        licence: SPDX id or a short text.
        redistributable: whether others may have it.
        text: transcript, or empty.
        source: where it comes from: a file, or empty for one that is made here.
        fingerprint: changes when the source does; part of the settings of its batch.
        video: id of the video or programme, or empty.
        origin: its name inside the corpus, or empty.
        member: where in an archive it is, where it comes from one.
        annotation_path: file of its annotation, or empty.
        annotation_member: likewise for an annotation in an archive.
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
    fingerprint: str = ""
    video: str = ""
    origin: str = ""
    member: Member | None = None
    annotation_path: str = ""
    annotation_member: Member | None = None

    def raw_clip(self, info: FileInfo) -> RawClip:
        """The row of the raw table, once the file is there."""
        values: dict[str, Any] = {
            name: value for name, value in vars(self).items() if name not in _NOT_IN_THE_TABLE
        }
        if info.annotation:
            values |= info.annotation.columns()
            values["text"] = info.annotation.text or self.text
        return RawClip(**values, sha256=info.sha256, size_bytes=info.size_bytes)


_NOT_IN_THE_TABLE = frozenset(
    {"source", "fingerprint", "member", "annotation_path", "annotation_member"}
)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What the corpus says of one clip; see `RawClip`.

    Attributes:
        scores: confidences and offsets by name.
        text: transcript.
        words: of it.
        word_times_s: two a word.
    """

    scores: dict[str, float] = field(default_factory=dict)
    text: str = ""
    words: tuple[str, ...] = ()
    word_times_s: tuple[float, ...] = ()

    def columns(self) -> dict[str, Any]:
        """The values of the columns of `RawClip` with these facts."""
        return {
            "annotation": self.scores,
            "text": self.text,
            "words": self.words,
            "word_times_s": self.word_times_s,
        }


@dataclass(frozen=True)
class FileInfo:
    """What a raw file holds.

    Attributes:
        sha256: of its bytes.
        size_bytes: of the file.
        annotation: what the corpus says of it, where it says anything.
    """

    sha256: str
    size_bytes: int
    annotation: Annotation | None = None


def read_file_info(path: Path) -> FileInfo:
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
    return FileInfo(digest, after.st_size)


def write_file(path: Path, pieces: Iterable[bytes]) -> FileInfo:
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
    return FileInfo(digest.hexdigest(), size_bytes)


def item_error(error: OSError, path: Path) -> ItemError:
    """The reason for an item whose file could not be used."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ItemError(Reason.FILE_MISSING, f"{path} is missing, or a link to nothing.")
    if error.errno == errno.ENOSPC:
        return ItemError(Reason.OUT_OF_SPACE, "no space left on the device")
    detail = os.strerror(error.errno) if error.errno else str(error)
    return ItemError(Reason.UNREADABLE, f"{path} cannot be read: {detail}.")
