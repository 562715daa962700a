"""AVSpeech and other lists of spans of YouTube videos: `<id>,<start>,<end>,<x>,<y>`.

The videos come by the route of VoxCeleb2 (`avsep.corpora.youtube`). The lists name no speakers, so
the video stands for the speaker.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from avsep.corpora.annotation_file import AnnotationFile, Boxes
from avsep.corpora.config import AvSpeechConfig
from avsep.corpora.corpus import CorpusSize
from avsep.corpora.ids import hash_fraction, short_hash, split_of
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import read_list
from avsep.corpora.youtube_corpus import YouTubeCorpus
from avsep.errors import ItemError, UsageError
from avsep.schema import FPS

MAX_LIST_BYTES = 1 << 30
MAX_SPAN_S = 600.0
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(frozen=True)
class Span:
    """A line of a list.

    Attributes:
        video: YouTube id.
        start_s: start in the video.
        end_s: end in the video.
        x: middle of the face at the start, as a share of the width.
        y: the same, as a share of the height.
    """

    video: str
    start_s: float
    end_s: float
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class AvSpeech(YouTubeCorpus):
    """Spans of YouTube videos.

    Attributes:
        config: settings of AVSpeech.
    """

    name: ClassVar[str] = "avspeech"
    config: AvSpeechConfig

    @cached_property
    def root(self) -> Path:
        """The folder of the lists."""
        return self.check_root(self.config.root)

    def list_clips(self) -> list[SourceClip]:
        """The spans of both lists, sorted by clip id.

        Raises:
            UsageError: a list is missing, or a line is wrong; the message names it.
        """
        clips: dict[str, SourceClip] = {}
        for name, part in ((self.config.train, "train"), (self.config.test, "test")):
            path = self.root / name
            for number, span in self._chosen(read_spans(path)) if name else ():
                clip = self._clip(span, part)
                if clip.clip_id in clips:
                    raise UsageError(
                        f"line {number} of {path} names the span {clip.origin}, which is listed"
                        " already."
                    )
                clips[clip.clip_id] = clip
        return [clips[clip_id] for clip_id in sorted(clips)]

    def size(self) -> CorpusSize:
        """How much the lists name."""
        clips = self.list_clips()
        return CorpusSize(clips=len(clips), videos=len({clip.video for clip in clips}))

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Never called: clips of YouTube are downloaded video by video."""
        raise NotImplementedError

    def fetch_all(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Download the videos of the clips; yields the result of each clip when it is known."""
        return self.from_youtube(clips, workers=workers, timeout_s=timeout_s)

    def is_present(self, clip: SourceClip, info: FileInfo) -> bool:
        """Whether the raw file of a clip is still there; `clean` checks its bytes."""
        path = self.workspace.raw / clip.path
        return path.is_file() and path.stat().st_size == info.size_bytes

    def read_annotation(self, clip: SourceClip) -> AnnotationFile:
        """The boxes of a clip: one square, as large as the settings say, in every frame."""
        start_s, end_s, x, y = map(float, clip.fingerprint.split()[:4])
        first = round(start_s * FPS)
        height = self.config.side / self.youtube.box_scale
        box = (x, y - height / 2, 0.0, height)
        rows = (box,) * max(1, round(end_s * FPS) - first)
        return AnnotationFile(boxes=Boxes(first_frame=first, rows=rows, in_pixels=False))

    def _chosen(self, spans: Iterable[tuple[int, Span]]) -> Iterator[tuple[int, Span]]:
        most = self.config.max_videos
        if most is None:
            yield from spans
            return
        listed = list(spans)
        videos = {span.video for _, span in listed}
        chosen = set(sorted(videos, key=lambda v: (hash_fraction(v, self.seed), v))[:most])
        yield from ((number, span) for number, span in listed if span.video in chosen)

    def _clip(self, span: Span, part: str) -> SourceClip:
        clip_id = f"avspeech-{span.video}-{round(1000 * span.start_s):08d}"
        drawn = split_of(span.video, self.seed, self.config.val_share)
        settings = (self.config.side, self.youtube.box_scale, self.youtube.size)
        place = (span.start_s, span.end_s, span.x, span.y)
        return SourceClip(
            clip_id=clip_id,
            corpus=self.name,
            speaker=f"avspeech-{span.video}",
            group=f"avspeech-{span.video}",
            gender="",
            split="test" if part == "test" else drawn,
            # YouTube ids may differ in case only, so the file name needs a hash.
            path=f"{self.name}/{clip_id}-{short_hash(clip_id)}.mp4",
            licence=self.config.licence,
            fingerprint=" ".join(str(value) for value in (*place, *settings)),
            video=span.video,
            origin=f"{span.video}/{span.start_s:.3f}-{span.end_s:.3f}",
        )


def read_spans(path: Path) -> Iterator[tuple[int, Span]]:
    """The spans of a list with their line numbers; a line of column names may come first.

    Raises:
        UsageError: the list is missing or empty, or a line is not a span.
    """
    lines = io.StringIO(read_list(path, MAX_LIST_BYTES), newline="")
    count = 0
    try:
        for row in csv.reader(lines, skipinitialspace=True):
            number = count = count + 1
            if not any(cell.strip() for cell in row):
                continue
            span = _span(row)
            if span is not None:
                yield number, span
            elif number > 1 or _VIDEO.fullmatch(row[0].strip()):
                raise UsageError(
                    f"line {number} of {path} is {','.join(row)[:80]!r}, which is not"
                    " `<YouTube id>,<start>,<end>,<x>,<y>` with 0 <= start < end and shares x, y."
                )
    except csv.Error as error:
        raise UsageError(f"{path} is not a csv file: {error}.") from error
    if not count:
        raise UsageError(f"{path} is empty.")


def _span(row: list[str]) -> Span | None:
    try:
        start_s, end_s, x, y = (float(cell) for cell in row[1:])
    except ValueError:
        return None
    video = row[0].strip()
    right = _VIDEO.fullmatch(video) and all(map(math.isfinite, (start_s, end_s, x, y)))
    if not right or not 0 <= start_s < end_s <= start_s + MAX_SPAN_S:
        return None
    return Span(video, start_s, end_s, x, y) if 0 <= x <= 1 and 0 <= y <= 1 else None
