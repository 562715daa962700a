"""LRS2-BBC from the user's own copy: `mvlrs_v1/main|pretrain/<19 digits>/NNNNN.mp4`.

Lists name the clips of each split. There are no names of speakers: the programme stands for the
speaker, although a presenter may appear in several programmes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from avsep.corpora import lrs
from avsep.corpora.config import Lrs2Config
from avsep.corpora.corpus import Corpus
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.errors import CheckError

# Lines per list, as published.
COUNTS = {
    "pretrain.txt": (96_318,),
    "train.txt": (45_839,),
    "val.txt": (1_082,),
    "test.txt": (1_243,),
}
_ENTRY = re.compile(r"(\d{19})/(\d{5})")


@dataclass(frozen=True, kw_only=True)
class Lrs2(Corpus):
    """A copy of LRS2.

    Attributes:
        config: settings of LRS2.
    """

    name: ClassVar[str] = "lrs2"
    config: Lrs2Config

    @cached_property
    def root(self) -> Path:
        """The folder that holds `main`.

        Raises:
            UsageError: there is none.
        """
        given = self.check_root(self.config.root)
        return lrs.find_root(self.name, (given, given / "mvlrs_v1"), ("main",))

    def list_clips(self) -> list[SourceClip]:
        """The clips that the lists name.

        Raises:
            UsageError: a list is missing or damaged.
            CheckError: a list does not have its published length, or two lists name one clip.
        """
        lists = self._read_lists()
        if self.config.check_counts:
            counts = {f"{name}.txt": len(entries) for name, entries in lists.items()}
            lrs.check_counts(self.name, counts, COUNTS)
        seen: dict[lrs.Entry, str] = {}
        clips = []
        for name, entries in lists.items():
            folder, split = ("pretrain", "train") if name == "pretrain" else ("main", name)
            for entry in entries:
                if folder == "main" and seen.setdefault(entry, name) != name:
                    raise CheckError(
                        f"{'/'.join(entry)} is in {seen[entry]}.txt and in {name}.txt."
                    )
                licence = self.config.licence
                clips.append(
                    lrs.source_clip(
                        self.name, self.root, folder, entry, split=split, licence=licence
                    )
                )
        return sorted(clips, key=lambda clip: clip.clip_id)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one clip and read its transcript."""
        return lrs.fetch(clip, self.workspace.raw)

    def _read_lists(self) -> dict[str, list[lrs.Entry]]:
        """The entries of each list that is used; a list is in the root or in the folder above."""
        lists = {}
        for name in ("train", "val", "test", *(("pretrain",) if self.config.pretrain else ())):
            paths = [self.root / f"{name}.txt", self.root.parent / f"{name}.txt"]
            path = next((path for path in paths if path.is_file()), paths[0])
            lists[name] = lrs.read_entries(path, _ENTRY)
        return lists
