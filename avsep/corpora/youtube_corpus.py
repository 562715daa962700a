"""What corpora share whose clips are cut from videos of YouTube."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from avsep.corpora.annotation_file import AnnotationFile
from avsep.corpora.corpus import Corpus
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.session import download_videos
from avsep.errors import ItemError
from avsep.outcome import SourceLog


@dataclass(frozen=True, kw_only=True)
class YouTubeCorpus(Corpus):
    """A corpus that can be downloaded video by video.

    Attributes:
        youtube: settings of downloads.
        ledger: where to record how the downloads of videos ended.
    """

    youtube: YouTubeConfig
    ledger: SourceLog

    @abstractmethod
    def read_annotation(self, clip: SourceClip) -> AnnotationFile | None:
        """Where the face of a clip is; None where that is not known."""

    def from_youtube(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Download the videos of the clips; yields the result of each clip when it is known."""
        yield from download_videos(
            clips,
            self.youtube,
            read_annotation=self.read_annotation,
            ledger=self.ledger,
            raw=self.workspace.raw,
            work=self.workspace.work("download"),
            workers=workers,
            timeout_s=timeout_s,
        )
