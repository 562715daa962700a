"""A clip of a corpus: what is known before and after its file is in `data/raw`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from avsep.corpora.archives import Member
from avsep.schema import RawClip


@dataclass(frozen=True, kw_only=True, slots=True)  # a corpus may have a million
class SourceClip:
    """A clip before it is in `data/raw`. Most fields are those of `RawClip`.

    Attributes:
        clip_id: id of the clip.
        corpus: name of the corpus.
        speaker: id of the speaker.
        group: id shared by speakers who must be in the same split.
        gender: `f`, `m` or empty.
        split: `train`, `val` or `test`.
        path: where the raw file will be, relative to `data/raw`.
        licence: SPDX id or a short text.
        redistributable: whether the licence allows to pass the clip on.
        text: transcript, or empty.
        source: path of the file that it comes from, or name of the member of an archive; empty
            for a clip that is rendered or downloaded.
        fingerprint: text that changes when the source does; part of the settings of the batch.
        video: id of the video or programme, or empty.
        origin: name of the clip inside the corpus, or empty.
        member: where the clip is in an archive, if it comes from one.
        annotation_path: path of the annotation file, or empty.
        annotation_member: where the annotation file is in an archive, if it comes from one.
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
        names = (one.name for one in fields(self) if one.name not in _NOT_IN_THE_TABLE)
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        if info.annotation:
            values |= info.annotation.columns()
            values["text"] = info.annotation.text or self.text
        return RawClip(**values, sha256=info.sha256, size_bytes=info.size_bytes)


_NOT_IN_THE_TABLE = frozenset(
    {"source", "fingerprint", "member", "annotation_path", "annotation_member"}
)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What the corpus says about one clip; see the columns of `RawClip`.

    Attributes:
        scores: confidences and offsets by name.
        text: transcript, or empty.
        words: words of the transcript, if they are timed.
        word_times_s: start and end of each word in seconds, two numbers per word.
    """

    scores: dict[str, float] = field(default_factory=dict)
    text: str = ""
    words: tuple[str, ...] = ()
    word_times_s: tuple[float, ...] = ()

    def columns(self) -> dict[str, Any]:
        """The columns of `RawClip` by name."""
        return {
            "annotation": self.scores,
            "text": self.text,
            "words": self.words,
            "word_times_s": self.word_times_s,
        }


@dataclass(frozen=True)
class FileInfo:
    """What is known about a raw file.

    Attributes:
        sha256: hash of its bytes.
        size_bytes: size of the file.
        annotation: what the corpus says about the clip, or None.
    """

    sha256: str
    size_bytes: int
    annotation: Annotation | None = None
