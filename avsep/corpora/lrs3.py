"""LRS3-TED from the user's own copy: `pretrain|trainval|test/<YouTube id>/NNNNN.mp4`.

There is no official validation part: a list names it (AV-HuBERT's 1,200 utterances are the usual
choice), or a share of the talks is drawn. The talk stands for the speaker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from avsep.corpora import folder, lrs
from avsep.corpora.one_by_one import OneByOne
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.walk import files_below
from avsep.errors import CheckError, UsageError
from avsep.workspace import Workspace

CORPUS = "lrs3"
COUNTS = {"pretrain": (118_516,), "trainval": (31_982,), "test": (1_321, 1_452)}
_CLIP = re.compile(r"([A-Za-z0-9_-]{11})/(\d{5})\.mp4")
_ENTRY = re.compile(r"(?:(?:.*/)?trainval/)?([A-Za-z0-9_-]{11})/(\d{5})(?:\.mp4)?")


@dataclass(frozen=True, kw_only=True)
class Lrs3Config:
    """Settings of LRS3.

    Attributes:
        root: the folder that holds `trainval` and `test`, or the one above it.
        pretrain: take the pretraining part into the training split as well.
        val_list: file of lines `<YouTube id>/<number>` (`trainval/` before it is fine), relative
            to the root, which make up the validation; empty to draw talks. Further clips of these
            talks are dropped by `clean`, since one talk must not be in two splits.
        val_share: share of the talks of `trainval` that is drawn where there is no list.
        check_counts: stop when a part has not the published number of clips.
        licence: kept with every clip.
    """

    root: str = ""
    pretrain: bool = False
    val_list: str = ""
    val_share: float = 0.04
    check_counts: bool = True
    licence: str = "LRS3-TED: withdrawn; TED terms; not to be shared"

    def __post_init__(self) -> None:
        if not 0 <= self.val_share <= 1:
            raise ValueError(f"val_share is {self.val_share}; it is a share, 0 to 1.")


@dataclass(frozen=True)
class Lrs3(OneByOne):
    """A copy of LRS3.

    Attributes:
        config: its settings.
        workspace: the project's folders.
        seed: of the validation talks.
    """

    config: Lrs3Config
    workspace: Workspace
    seed: int
    name: str = field(default=CORPUS, init=False)

    @cached_property
    def root(self) -> Path:
        """The folder that holds the parts.

        Raises:
            UsageError: there is none.
        """
        given = folder.checked_root(
            "download.lrs3.root", self.config.root, self.workspace.root, self.workspace.raw
        )
        below = sorted(path for path in given.iterdir() if path.is_dir())
        for root in (given, *below):
            if (root / "trainval").is_dir() or (root / "test").is_dir():
                return root
        raise UsageError(f"{given} has no folder trainval or test; is it a copy of LRS3?")

    def clips(self) -> dict[str, list[tuple[str, str]]]:
        """Talk and number of the clips of each part that is used."""
        found: dict[str, list[tuple[str, str]]] = {}
        for part in ("trainval", "test", *(("pretrain",) if self.config.pretrain else ())):
            folder_of_part = self.root / part
            files = files_below(folder_of_part) if folder_of_part.is_dir() else iter(())
            matches = (_CLIP.fullmatch(file) for file in files)
            found[part] = sorted((match[1], match[2]) for match in matches if match)
        return found

    def list_clips(self) -> list[SourceClip]:
        """What the copy holds, and what the validation list names.

        Raises:
            UsageError: no such folder, or a wrong list.
            CheckError: a part has not its published size.
        """
        clips = self.clips()
        odd = [
            sentence
            for part, entries in clips.items()
            if (sentence := lrs.same_count(CORPUS, part, len(entries), COUNTS[part]))
        ]
        if odd and self.config.check_counts:
            raise CheckError(
                f"{'; '.join(odd)}; the copy is incomplete. Set download.lrs3.check_counts to"
                " false to take it as it is."
            )
        if not any(clips.values()):
            raise UsageError(f"{self.root} has no clips <YouTube id>/NNNNN.mp4.")
        made = lrs.source_clips(CORPUS, self.root, self._utterances(clips), self.config.licence)
        twice = [i for i, n in Counter(clip.clip_id for clip in made).items() if n > 1]
        assert not twice, f"{twice[0]} twice"
        return made

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one clip and read its transcript; raises ItemError."""
        return lrs.fetch(clip, self.workspace.raw)

    def is_present(self, clip: SourceClip, content: FileInfo) -> bool:
        """Whether the link is there."""
        return folder.linked(clip, self.workspace.raw)

    def _utterances(self, clips: dict[str, list[tuple[str, str]]]) -> Iterator[lrs.Utterance]:
        listed = self._listed()
        for part, entries in clips.items():
            # A clip that the list names and that is missing ends as failed, not as forgotten.
            absent = sorted(listed - set(entries)) if part == "trainval" and listed else []
            for video, number in [*entries, *absent]:
                if part != "trainval":
                    split = "train" if part == "pretrain" else part
                elif listed is not None:
                    split = "val" if (video, number) in listed else "train"
                else:
                    split = folder.split_of(video, self.seed, self.config.val_share, test_share=0)
                yield lrs.Utterance(below=part, video=video, number=number, split=split)

    def _listed(self) -> set[tuple[str, str]] | None:
        if not self.config.val_list:
            return None
        return set(lrs.read_list(self.root / self.config.val_list, _ENTRY))
