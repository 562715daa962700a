"""Settings of the corpora: which one, where your copy of it is, and how it is split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from avsep.corpora.demo.config import DemoConfig
from avsep.corpora.licences import CREMA_D, GRID, LOMBARD_GRID
from avsep.corpora.youtube.config import TERMS, YouTubeConfig
from avsep.validation import check_at_least, check_not_empty, check_positive, check_share


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Settings of a folder of videos.

    Attributes:
        root: path of the folder; relative to the project, or absolute.
        csv: path of a csv file, relative to `root`, with the columns file and speaker and the
            optional columns gender, split, group and text. Empty: the folders name the speakers.
        only_listed: leave out the videos that the csv does not name; otherwise they are an error.
        follow_links: follow links that lead out of the folder; otherwise they are an error.
        val_share: share of the groups (of the speakers, if the csv names no groups) in the
            validation split. A hash of the name decides, so a group keeps its split when others
            are added. Only where that leaves a split without two groups do groups move; with fewer
            than six, the clips of a speaker are divided over the splits.
        test_share: share of the groups in the test split, decided in the same way.
        licence: SPDX id or a short text, stored with every clip.
        redistributable: whether the licence allows to pass the clips on.
    """

    root: str = ""
    csv: str = ""
    only_listed: bool = False
    follow_links: bool = False
    val_share: float = 0.1
    test_share: float = 0.1
    licence: str = ""
    redistributable: bool = False

    def __post_init__(self) -> None:
        check_share(self, "val_share", "test_share")
        if self.val_share + self.test_share > 1:
            raise ValueError(
                f"val_share and test_share add up to {self.val_share + self.test_share:g};"
                " the sum must be at most 1."
            )
        if self.only_listed and not self.csv:
            raise ValueError("only_listed needs a list of videos; set csv to its path.")


@dataclass(frozen=True, kw_only=True)
class VoxCeleb2Config:
    """Settings of VoxCeleb2.

    Attributes:
        root: path of the folder with your copy; relative to the project, or absolute.
        route: `tree` links extracted clips; `archives` reads the zip files or their parts and
            writes the clips to `data/raw`; `youtube` downloads the videos and cuts the clips as
            the txt annotations say (see `download.youtube`).
        parts: parts of the corpus to use, `dev` and `test`.
        meta: name of the list of speakers; it may lie anywhere below `root`.
        val_share: share of the speakers of `dev` in the validation split, chosen by a hash of
            their ids.
        max_speakers: use only this many speakers of each part, chosen by the same hash; None for
            all.
        check_md5: compare the archives with the published checksums before they are read.
        checksums: path of a file with lines `<md5>  <archive>`, relative to `root`, for archives
            without a published checksum.
        licence: text stored with every clip.
    """

    root: str = ""
    route: Literal["tree", "archives", "youtube"] = "tree"
    parts: tuple[Literal["dev", "test"], ...] = ("dev", "test")
    meta: str = "vox2_meta.csv"
    val_share: float = 0.01
    max_speakers: int | None = None
    check_md5: bool = True
    checksums: str = ""
    licence: str = "VoxCeleb2: annotations CC-BY-4.0, videos of their owners; not to be shared"

    def __post_init__(self) -> None:
        check_share(self, "val_share")
        check_at_least(self, 1, "max_speakers")
        check_not_empty(self, "parts")


@dataclass(frozen=True, kw_only=True)
class Lrs2Config:
    """Settings of LRS2.

    Attributes:
        root: path of the folder `mvlrs_v1` or of the folder above it.
        pretrain: add the pretraining part to the training split; it has the same programmes as
            the training part.
        check_counts: stop if a list does not have the published number of lines.
        licence: text stored with every clip.
    """

    root: str = ""
    pretrain: bool = False
    check_counts: bool = True
    licence: str = "LRS2-BBC: BBC R&D agreement; not to be shared"


@dataclass(frozen=True, kw_only=True)
class Lrs3Config:
    """Settings of LRS3.

    Attributes:
        root: path of the folder that holds `trainval` and `test`, or of the folder above it.
        pretrain: add the pretraining part to the training split.
        val_list: path of a file, relative to `root`, with one clip of `trainval` per line:
            `<YouTube id>/<number>`, with or without `trainval/` before it. These clips are the
            validation split, and `clean` drops the other clips of their talks, since a talk must
            not be in two splits. Empty: talks are chosen by a hash of their ids.
        val_share: share of the talks of `trainval` in the validation split, if there is no list.
        check_counts: stop if a part does not have the published number of clips.
        licence: text stored with every clip.
    """

    root: str = ""
    pretrain: bool = False
    val_list: str = ""
    val_share: float = 0.04
    check_counts: bool = True
    licence: str = "LRS3-TED: withdrawn; TED terms; not to be shared"

    def __post_init__(self) -> None:
        check_share(self, "val_share")


@dataclass(frozen=True, kw_only=True)
class SpeakerSplits:
    """How the speakers of an open corpus are divided; each is in one split only.

    Attributes:
        root: path of the folder with the copy; relative to the project, or absolute.
        val_share: share of the speakers in the validation split, chosen by a hash of their names;
            at least two where there are six speakers.
        test_share: share of the speakers in the test split, chosen in the same way.
        licence: text stored with every clip; the attribution that the licence asks for.
    """

    root: str = ""
    val_share: float = 0.1
    test_share: float = 0.2
    licence: str = ""

    def __post_init__(self) -> None:
        check_share(self, "val_share", "test_share")
        if self.val_share + self.test_share > 1:
            raise ValueError(
                f"val_share and test_share add up to {self.val_share + self.test_share:g};"
                " the sum must be at most 1."
            )


@dataclass(frozen=True, kw_only=True)
class GridConfig(SpeakerSplits):
    """Settings of GRID; see also `SpeakerSplits`.

    Attributes:
        check_md5: compare the archives with those of `md5.txt` before they are read.
    """

    licence: str = GRID
    check_md5: bool = True


@dataclass(frozen=True, kw_only=True)
class LombardGridConfig(SpeakerSplits):
    """Settings of Lombard GRID; see also `SpeakerSplits`.

    Attributes:
        view: the camera, `front` or `side`.
        speech: `plain`, `lombard` (spoken in noise), or both.
        wrong: also take sentences that were read wrongly; they have no text.
        check_md5: compare the archives with those of `md5.txt` before they are read.
    """

    licence: str = LOMBARD_GRID
    view: Literal["front", "side"] = "front"
    speech: tuple[Literal["plain", "lombard"], ...] = ("plain", "lombard")
    wrong: bool = False
    check_md5: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_empty(self, "speech")


@dataclass(frozen=True, kw_only=True)
class CremaDConfig(SpeakerSplits):
    """Settings of CREMA-D; see also `SpeakerSplits`.

    Attributes:
        emotions: the emotions to take.
    """

    licence: str = CREMA_D
    emotions: tuple[Literal["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"], ...] = (
        *("ANG", "DIS", "FEA"),
        *("HAP", "NEU", "SAD"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_empty(self, "emotions")


@dataclass(frozen=True, kw_only=True)
class AvSpeechConfig:
    """Settings of AVSpeech, and of other lists of spans of YouTube videos.

    Attributes:
        root: path of the folder with the lists; relative to the project, or absolute.
        train: name of the list for training and validation, below `root`: one span per line,
            `<YouTube id>,<start>,<end>,<x>,<y>` with times in seconds and the middle of the face at
            the start as shares of the picture. Empty: none.
        test: name of the list for the test; empty: none.
        val_share: share of the videos of `train` in the validation split, chosen by a hash.
        max_videos: use only this many videos of each list, chosen by the same hash; None for all.
        side: side of the square that is cut out around the face, as a share of the height.
        licence: text stored with every clip.
    """

    root: str = ""
    train: str = "avspeech_train.csv"
    test: str = "avspeech_test.csv"
    val_share: float = 0.01
    max_videos: int | None = None
    side: float = 0.7
    licence: str = "AVSpeech: list CC-BY-4.0, videos of their owners; not to be shared"

    def __post_init__(self) -> None:
        check_share(self, "val_share", "side")
        check_positive(self, "side")
        check_at_least(self, 1, "max_videos")
        if not self.train and not self.test:
            raise ValueError("train and test are empty; name at least one list.")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Which corpus, and the settings of each.

    Attributes:
        corpus: `demo` is rendered by this package, `folder` is a folder of your own videos, and
            the others are copies of published corpora; `avsep fetch` downloads `grid`,
            `lombard-grid` and `crema-d`.
        seed: seed of the demo corpus and of the splits.
        demo: settings of the demo corpus.
        folder: settings of a folder.
        voxceleb2: settings of VoxCeleb2.
        lrs2: settings of LRS2.
        lrs3: settings of LRS3.
        grid: settings of GRID.
        lombard_grid: settings of Lombard GRID.
        crema_d: settings of CREMA-D.
        avspeech: settings of AVSpeech and of other lists of spans of YouTube videos.
        youtube: settings of downloads from YouTube, which are off by default.
    """

    corpus: Literal[
        "demo",
        "folder",
        "voxceleb2",
        "lrs2",
        "lrs3",
        "grid",
        "lombard-grid",
        "crema-d",
        "avspeech",
    ] = "demo"
    seed: int = 0
    demo: DemoConfig = field(default_factory=DemoConfig)
    folder: FolderConfig = field(default_factory=FolderConfig)
    voxceleb2: VoxCeleb2Config = field(default_factory=VoxCeleb2Config)
    lrs2: Lrs2Config = field(default_factory=Lrs2Config)
    lrs3: Lrs3Config = field(default_factory=Lrs3Config)
    grid: GridConfig = field(default_factory=GridConfig)
    lombard_grid: LombardGridConfig = field(default_factory=LombardGridConfig)
    crema_d: CremaDConfig = field(default_factory=CremaDConfig)
    avspeech: AvSpeechConfig = field(default_factory=AvSpeechConfig)
    youtube: YouTubeConfig = field(default_factory=YouTubeConfig)

    def __post_init__(self) -> None:
        check_at_least(self, 0, "seed")
        if self.corpus != "demo" and not self.section.root:
            what = "your videos" if self.corpus == "folder" else "your copy of the corpus"
            raise ValueError(f"{self.corpus}.root is empty; set it to the folder with {what}.")
        if self.by_youtube and not self.youtube.allowed:
            raise ValueError(f"downloads from YouTube are off. {TERMS}")

    @property
    def by_youtube(self) -> bool:
        """Whether the clips are cut out of videos of YouTube."""
        route = self.voxceleb2.route if self.corpus == "voxceleb2" else ""
        return self.corpus == "avspeech" or route == "youtube"

    @property
    def section(self) -> Any:
        """The settings of the chosen corpus."""
        return getattr(self, self.corpus.replace("-", "_"))
