"""What the corpora share whose clips come one by one, none knowing of another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.errors import ItemError
from avsep.processes import map_items


class OneByOne(ABC):
    """A corpus whose clips may be brought in any order, by any process; picklable."""

    @abstractmethod
    def fetch(self, clip: SourceClip) -> FileInfo:
        """Bring one clip; raises ItemError."""

    def fetch_all(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Bring many clips; yields what became of each, as they come."""
        yield from map_items(self.fetch, clips, workers=workers, timeout_s=timeout_s)
