"""LRS3-TED from the user's own copy: `pretrain|trainval|test/<YouTube id>/NNNNN.mp4`.

There is no official validation split: either a list names its clips (the 1,200 utterances of
AV-HuBERT are the usual choice), or a share of the talks is chosen. The talk stands for the speaker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from avsep.corpora import lrs
from avsep.corpora.config import Lrs3Config
from avsep.corpora.corpus import Corpus
from avsep.corpora.ids import split_of
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.errors import UsageError
from avsep.files import files_below

# Clips per part, as published; the test part has two releases.
COUNTS = {"pretrain": (118_516,), "trainval": (31_982,), "test": (1_321, 1_452)}
_CLIP = re.compile(r"([A-Za-z0-9_-]{11})/(\d{5})\.mp4")
_ENTRY = re.compile(r"(?:(?:.*/)?trainval/)?([A-Za-z0-9_-]{11})/(\d{5})(?:\.mp4)?")


@dataclass(frozen=True, kw_only=True)
class Lrs3(Corpus):
    """A copy of LRS3.

    Attributes:
        config: settings of LRS3.
    """

    name: ClassVar[str] = "lrs3"
    config: Lrs3Config

    @cached_property
    def root(self) -> Path:
        """The folder that holds the parts.

        Raises:
            UsageError: there is none.
        """
        given = self.check_root(self.config.root)
        below = sorted(path for path in given.iterdir() if path.is_dir())
        return lrs.find_root(self.name, (given, *below), ("trainval", "test"))

    def list_clips(self) -> list[SourceClip]:
        """The clips of the copy, and those that the validation list names.

        Raises:
            UsageError: the folder or the validation list is wrong.
            CheckError: a part does not have its published size.
        """
        parts = self._find_clips()
        if self.config.check_counts:
            counts = {part: len(entries) for part, entries in parts.items()}
            lrs.check_counts(self.name, counts, COUNTS)
        if not any(parts.values()):
            raise UsageError(f"{self.root} has no clips <YouTube id>/NNNNN.mp4.")
        clips = sorted(self._clips(parts), key=lambda clip: clip.clip_id)
        counted = Counter(clip.clip_id for clip in clips)
        assert counted.total() == len(counted), "two clips have the same id"
        return clips

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one clip and read its transcript."""
        return lrs.fetch(clip, self.workspace.raw)

    def _find_clips(self) -> dict[str, list[lrs.Entry]]:
        """Talk and number of the clips of each part that is used."""
        found: dict[str, list[lrs.Entry]] = {}
        for part in ("trainval", "test", *(("pretrain",) if self.config.pretrain else ())):
            folder = self.root / part
            files = files_below(folder) if folder.is_dir() else iter(())
            matches = (_CLIP.fullmatch(file) for file in files)
            found[part] = sorted((match[1], match[2]) for match in matches if match)
        return found

    def _clips(self, parts: dict[str, list[lrs.Entry]]) -> Iterator[SourceClip]:
        listed = self._read_val_list()
        for part, entries in parts.items():
            # A listed clip without a file ends as failed, instead of being left out in silence.
            missing = sorted(listed - set(entries)) if part == "trainval" and listed else []
            for entry in [*entries, *missing]:
                if part != "trainval":
                    split = "train" if part == "pretrain" else part
                elif listed is not None:
                    split = "val" if entry in listed else "train"
                else:
                    split = split_of(entry[0], self.seed, self.config.val_share)
                licence = self.config.licence
                yield lrs.source_clip(
                    self.name, self.root, part, entry, split=split, licence=licence
                )

    def _read_val_list(self) -> set[lrs.Entry] | None:
        if not self.config.val_list:
            return None
        return set(lrs.read_entries(self.root / self.config.val_list, _ENTRY))
