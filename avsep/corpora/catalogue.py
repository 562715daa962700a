"""The corpora by name: what each has and how a clip of it is brought into `data/raw`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from avsep.corpora import folder
from avsep.corpora.demo import source_clips as demo
from avsep.corpora.demo.config import DemoConfig
from avsep.corpora.folder import FolderConfig
from avsep.corpora.lrs2 import Lrs2, Lrs2Config
from avsep.corpora.lrs3 import Lrs3, Lrs3Config
from avsep.corpora.one_by_one import OneByOne
from avsep.corpora.source_clip import FileInfo, SourceClip, read_file_info
from avsep.corpora.voxceleb2 import VoxCeleb2, VoxCeleb2Config
from avsep.corpora.youtube.config import TERMS, YouTubeConfig
from avsep.errors import ItemError
from avsep.outcome import SourceLog
from avsep.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class CorpusChoice:
    """Which corpus, and the settings of each.

    Attributes:
        corpus: `demo` is rendered here, `folder` is a folder of your own videos, the others are
            your own copies of published corpora.
        seed: of the demo corpus's pictures, and of splits that are drawn.
        demo: settings of the demo corpus.
        folder: settings of a folder.
        voxceleb2: settings of VoxCeleb2.
        lrs2: settings of LRS2.
        lrs3: settings of LRS3.
        youtube: settings of downloads from YouTube, which are off.
    """

    corpus: Literal["demo", "folder", "voxceleb2", "lrs2", "lrs3"] = "demo"
    seed: int = 0
    demo: DemoConfig = field(default_factory=DemoConfig)
    folder: FolderConfig = field(default_factory=FolderConfig)
    voxceleb2: VoxCeleb2Config = field(default_factory=VoxCeleb2Config)
    lrs2: Lrs2Config = field(default_factory=Lrs2Config)
    lrs3: Lrs3Config = field(default_factory=Lrs3Config)
    youtube: YouTubeConfig = field(default_factory=YouTubeConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more.")
        if self.corpus != "demo" and not getattr(self, self.corpus).root:
            what = "your videos" if self.corpus == "folder" else "your copy of the corpus"
            raise ValueError(f"{self.corpus}.root is empty; set it to the folder with {what}.")
        if (
            self.corpus == "voxceleb2"
            and self.voxceleb2.route == "youtube"
            and not self.youtube.allowed
        ):
            raise ValueError(f"downloads from YouTube are off. {TERMS}")


class Corpus(Protocol):
    """A corpus as the download stage sees it; picklable.

    Attributes:
        name: of the corpus, and of its folder below `data/raw`.
    """

    @property
    def name(self) -> str:
        """Of the corpus."""
        ...

    def list_clips(self) -> list[SourceClip]:
        """Its clips, sorted by clip id."""
        ...

    def fetch_all(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Bring many clips; yields what became of each, as they come."""
        ...

    def is_present(self, clip: SourceClip, content: FileInfo) -> bool:
        """Whether the raw file of a clip is there as the journal says."""
        ...


def open_corpus(choice: CorpusChoice, workspace: Workspace, ledger: SourceLog) -> Corpus:
    """The chosen corpus; what becomes of videos on the web goes into the ledger."""
    if choice.corpus == "demo":
        return Demo(choice.demo, workspace, choice.seed)
    if choice.corpus == "folder":
        return Folder(choice.folder, workspace, choice.seed)
    if choice.corpus == "lrs2":
        return Lrs2(choice.lrs2, workspace)
    if choice.corpus == "lrs3":
        return Lrs3(choice.lrs3, workspace, choice.seed)
    return VoxCeleb2(choice.voxceleb2, workspace, choice.seed, choice.youtube, ledger)


@dataclass(frozen=True)
class Demo(OneByOne):
    """The demo corpus."""

    config: DemoConfig
    workspace: Workspace
    seed: int
    name: str = field(default="demo", init=False)

    def list_clips(self) -> list[SourceClip]:
        """All its clips."""
        return demo.list_clips(self.config, self.seed)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Render one clip."""
        return demo.render(clip, self.workspace.raw, self.seed)

    def is_present(self, clip: SourceClip, content: FileInfo) -> bool:
        """Whether the rendered file is as it was."""
        try:
            return read_file_info(self.workspace.raw / clip.path) == content
        except ItemError:
            return False


@dataclass(frozen=True)
class Folder(OneByOne):
    """A folder of the user's own videos."""

    config: FolderConfig
    workspace: Workspace
    seed: int
    name: str = field(default="folder", init=False)

    def list_clips(self) -> list[SourceClip]:
        """All its videos."""
        return folder.list_clips(self.config, self.workspace.root, self.workspace.raw, self.seed)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one video."""
        return folder.link(clip, self.workspace.raw)

    def is_present(self, clip: SourceClip, content: FileInfo) -> bool:
        """Whether the link is there."""
        return folder.linked(clip, self.workspace.raw)
