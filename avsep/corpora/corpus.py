"""What the stage `download` needs of every corpus."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import is_linked
from avsep.errors import ItemError, UsageError
from avsep.files import expand_home
from avsep.processes import map_items
from avsep.workspace import Workspace

NUM_EXAMPLES = 24


@dataclass(frozen=True, kw_only=True)
class CorpusSize:
    """How much a corpus holds, as far as it is known before a clip is brought.

    Attributes:
        clips: number of clips.
        videos: number of videos that the clips are part of; 0 if they name none.
        archive_bytes: size of the clips in archives, unpacked; 0 if there are no archives.
        examples: paths of some clips on the disk, spread evenly over the corpus.
    """

    clips: int
    videos: int = 0
    archive_bytes: int = 0
    examples: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Corpus(ABC):
    """A corpus. It is picklable, so that worker processes can fetch its clips.

    Attributes:
        name: name of the corpus, of its section in the settings and of its folder in `data/raw`.
        workspace: the project's folders.
        seed: seed of the splits.
    """

    name: ClassVar[str]
    workspace: Workspace
    seed: int

    @abstractmethod
    def list_clips(self) -> list[SourceClip]:
        """All clips of the corpus, sorted by clip id."""

    def size(self) -> CorpusSize:
        """How much the corpus holds; brings and changes nothing.

        Raises:
            AvsepError: the corpus cannot be listed, see `list_clips`.
        """
        clips = self.list_clips()
        return CorpusSize(
            clips=len(clips),
            videos=len({clip.video for clip in clips} - {""}),
            archive_bytes=sum(clip.member.size_bytes for clip in clips if clip.member),
            examples=examples(Path(c.source) for c in clips if c.source and not c.member),
        )

    @abstractmethod
    def fetch(self, clip: SourceClip) -> FileInfo:
        """Bring one clip into the folder of raw clips.

        Raises:
            ItemError: the clip or its annotation is missing or damaged.
        """

    def fetch_all(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Bring many clips, in parallel; yields the result of each when it ends."""
        yield from map_items(self.fetch, clips, workers=workers, timeout_s=timeout_s)

    def is_present(self, clip: SourceClip, _info: FileInfo) -> bool:
        """Whether the raw file of a clip is still there as the journal says."""
        return is_linked(clip, self.workspace.raw)

    def left_out(self) -> str:
        """Files of the corpus that are not clips, in words; empty if there are none."""
        return ""

    def check_root(self, value: str, *, can_be_fetched: bool = False) -> Path:
        """The folder that the setting `root` names, as an absolute path.

        Args:
            value: the setting.
            can_be_fetched: whether `avsep fetch` downloads the corpus, which the error then says.

        Raises:
            UsageError: there is no such folder, or it overlaps with the folder of raw clips.
        """
        setting = f"download.{self.name}.root"
        root = (self.workspace.root / expand_home(value)).resolve()
        if not value or not os.path.isdir(root):  # noqa: PTH112  (`Path.is_dir` may raise)
            raise UsageError(
                f"{setting} is {value!r}, which is not a folder; set it to the folder with your"
                " videos."
                + (f" `avsep fetch {self.name}` downloads one." if can_be_fetched else "")
            )
        raw = self.workspace.raw.resolve()
        if raw.is_relative_to(root) or root.is_relative_to(raw):
            raise UsageError(
                f"{setting} is {root}, and one of it and the project's {raw} contains the other;"
                " keep your videos in another folder."
            )
        return root


def examples(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Some of the paths, spread evenly over all of them."""
    listed = list(paths)
    return tuple(listed[:: max(1, len(listed) // NUM_EXAMPLES)][:NUM_EXAMPLES])
