"""CREMA-D: `VideoFlash/<actor>_<sentence>_<emotion>_<level>.flv`, downloaded or in a clone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from avsep.corpora.config import CremaDConfig
from avsep.corpora.corpus import Corpus
from avsep.corpora.crema_d_names import DEMOGRAPHICS, SENTENCES, STEM, read_genders
from avsep.corpora.fetching.crema_d import MAX_POINTER_BYTES, POINTER
from avsep.corpora.folder_splits import draw_splits
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import fingerprint_of, link
from avsep.corpora.speaker_list import SpeakerEntry
from avsep.errors import CheckError, UsageError
from avsep.files import files_below


@dataclass(frozen=True, kw_only=True)
class CremaD(Corpus):
    """A copy of CREMA-D.

    Attributes:
        config: settings of CREMA-D.
    """

    name: ClassVar[str] = "crema-d"
    config: CremaDConfig

    @cached_property
    def root(self) -> Path:
        """The folder of the copy.

        Raises:
            UsageError: there is none; the message says how to get one.
        """
        return self.check_root(self.config.root, can_be_fetched=True)

    def list_clips(self) -> list[SourceClip]:
        """The clips of the copy, sorted by clip id.

        Raises:
            UsageError: the folder does not exist, has no clips, or only what stands for them.
            CheckError: a clip is of an actor or a sentence that is not known.
        """
        genders = read_genders(self.root / DEMOGRAPHICS)
        found: dict[str, Path] = {}
        for file in files_below(self.root):
            path = Path(file)
            if path.suffix.lower() != ".flv" or (match := STEM.fullmatch(path.stem)) is None:
                continue
            if match[1] not in genders or match[2] not in SENTENCES:
                raise CheckError(
                    f"{file} is of the actor {match[1]} and the sentence {match[2]}, of which one"
                    " is unknown."
                )
            if match[3] in self.config.emotions:
                found[path.stem] = self.root / file
        if not found:
            raise UsageError(
                f"{self.root} has no clips <actor>_<sentence>_<emotion>_<level>.flv of CREMA-D;"
                " `avsep fetch crema-d` downloads them."
            )
        if pointers := [path for path in found.values() if _is_pointer(path)]:
            raise UsageError(
                f"{len(pointers)} clips, for example {pointers[0]}, are pointers of Git LFS; run"
                " `git lfs pull` in the clone, or `avsep fetch crema-d`."
            )
        actors = {stem[:4] for stem in found}
        entries = {a: SpeakerEntry(speaker=a, gender=genders[a]) for a in actors}
        config = self.config
        splits = draw_splits(entries, self.seed, config.val_share, config.test_share)
        clips = [self._clip(s, path, genders[s[:4]], splits[s[:4]]) for s, path in found.items()]
        return sorted(clips, key=lambda clip: clip.clip_id)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one clip."""
        return link(clip, self.workspace.raw)

    def _clip(self, stem: str, path: Path, gender: str, split: str) -> SourceClip:
        return SourceClip(
            clip_id=f"crema-d-{stem}",
            corpus=self.name,
            speaker=f"crema-d-{stem[:4]}",
            group=f"crema-d-{stem[:4]}",
            gender=gender,
            split=split,
            path=f"{self.name}/{stem[:4]}/{stem}.flv",
            licence=self.config.licence,
            redistributable=True,
            text=SENTENCES[stem[5:8]],
            source=str(path),
            fingerprint=fingerprint_of(path),
            origin=stem,
        )


def _is_pointer(path: Path) -> bool:
    return path.stat().st_size <= MAX_POINTER_BYTES and bool(POINTER.fullmatch(path.read_bytes()))
