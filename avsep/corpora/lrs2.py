"""LRS2-BBC from the user's own copy: `mvlrs_v1/main|pretrain/<19 digits>/NNNNN.mp4`.

The lists say what is in which split. There are no names of speakers: the programme stands for
the speaker, though a presenter may occur in several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from avsep.corpora import folder, lrs
from avsep.corpora.one_by_one import OneByOne
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.errors import CheckError, UsageError
from avsep.workspace import Workspace

CORPUS = "lrs2"
COUNTS = {"pretrain": 96_318, "train": 45_839, "val": 1_082, "test": 1_243}
_ENTRY = re.compile(r"(\d{19})/(\d{5})")


@dataclass(frozen=True, kw_only=True)
class Lrs2Config:
    """Settings of LRS2.

    Attributes:
        root: the folder `mvlrs_v1` or the one above it.
        pretrain: take the pretraining part into the training split as well; its programmes are
            those of the training part.
        check_counts: stop when a list has not the published number of lines.
        licence: kept with every clip.
    """

    root: str = ""
    pretrain: bool = False
    check_counts: bool = True
    licence: str = "LRS2-BBC: BBC R&D agreement; not to be shared"


@dataclass(frozen=True)
class Lrs2(OneByOne):
    """A copy of LRS2.

    Attributes:
        config: its settings.
        workspace: the project's folders.
    """

    config: Lrs2Config
    workspace: Workspace
    name: str = field(default=CORPUS, init=False)

    @cached_property
    def root(self) -> Path:
        """The folder that holds `main`.

        Raises:
            UsageError: there is none.
        """
        given = folder.checked_root(
            "download.lrs2.root", self.config.root, self.workspace.root, self.workspace.raw
        )
        for root in (given, given / "mvlrs_v1"):
            if (root / "main").is_dir():
                return root
        raise UsageError(f"{given} has no folder main or mvlrs_v1/main; is it a copy of LRS2?")

    def lists(self) -> dict[str, list[tuple[str, str]]]:
        """The entries of each list that is used: programme and number.

        Raises:
            UsageError: a list is missing or damaged.
        """
        names = ["train", "val", "test"] + (["pretrain"] if self.config.pretrain else [])
        lists = {}
        for name in names:
            places = [self.root / f"{name}.txt", self.root.parent / f"{name}.txt"]
            path = next((place for place in places if place.is_file()), places[0])
            lists[name] = lrs.read_list(path, _ENTRY)
        return lists

    def list_clips(self) -> list[SourceClip]:
        """What the lists name.

        Raises:
            UsageError: a list is missing or damaged.
            CheckError: a list has not its published length, or two have the same clip.
        """
        lists = self.lists()
        odd = [
            sentence
            for name, entries in lists.items()
            if (sentence := lrs.same_count(CORPUS, f"{name}.txt", len(entries), [COUNTS[name]]))
        ]
        if odd and self.config.check_counts:
            raise CheckError(
                f"{'; '.join(odd)}; the copy is incomplete. Set download.lrs2.check_counts to"
                " false to take it as it is."
            )
        seen: dict[tuple[str, str], str] = {}
        utterances = []
        for name, entries in lists.items():
            below = "pretrain" if name == "pretrain" else "main"
            for video, number in entries:
                if below == "main" and seen.setdefault((video, number), name) != name:
                    raise CheckError(
                        f"{video}/{number} is in {seen[video, number]}.txt and in {name}.txt."
                    )
                split = "train" if name == "pretrain" else name
                utterances.append(
                    lrs.Utterance(below=below, video=video, number=number, split=split)
                )
        return lrs.source_clips(CORPUS, self.root, utterances, self.config.licence)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one clip and read its transcript; raises ItemError."""
        return lrs.fetch(clip, self.workspace.raw)

    def is_present(self, clip: SourceClip, content: FileInfo) -> bool:
        """Whether the link is there."""
        return folder.linked(clip, self.workspace.raw)
