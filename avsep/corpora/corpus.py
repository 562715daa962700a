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
from avsep.processes import map_items
from avsep.workspace import Workspace


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

    def check_root(self, value: str) -> Path:
        """The folder that the setting `root` names, as an absolute path.

        Raises:
            UsageError: there is no such folder, or it overlaps with the folder of raw clips.
        """
        setting = f"download.{self.name}.root"
        root = (self.workspace.root / Path(value).expanduser()).resolve()
        if not value or not os.path.isdir(root):  # noqa: PTH112  (`Path.is_dir` may raise)
            raise UsageError(
                f"{setting} is {value!r}, which is not a folder; set it to the folder with your"
                " videos."
            )
        raw = self.workspace.raw.resolve()
        if raw.is_relative_to(root) or root.is_relative_to(raw):
            raise UsageError(
                f"{setting} is {root}, and one of it and the project's {raw} contains the other;"
                " keep your videos in another folder."
            )
        return root
