"""A folder of the user's own videos: `<speaker>/<clip>.mp4`, or any files with a csv of speakers.

Without a csv the first folder below the root names the speaker, and each file directly in the root
is a speaker of its own.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from avsep.corpora.config import FolderConfig
from avsep.corpora.corpus import Corpus
from avsep.corpora.folder_splits import draw_splits, group_of
from avsep.corpora.ids import one_spelling, short_hash, slug
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import fingerprint_of, link
from avsep.corpora.speaker_list import SpeakerEntry, read_speaker_list
from avsep.errors import CheckError, UsageError
from avsep.files import files_below

EXTENSIONS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg"})


@dataclass(frozen=True, kw_only=True)
class Folder(Corpus):
    """A folder of the user's own videos.

    Attributes:
        config: settings of the folder.
    """

    name: ClassVar[str] = "folder"
    config: FolderConfig

    def list_clips(self) -> list[SourceClip]:
        """The videos in the folder, sorted by clip id.

        Raises:
            UsageError: the folder does not exist, has no videos, or the csv does not match it.
            CheckError: two files have the same id, or a part of the folder cannot be read.
        """
        root = self.check_root(self.config.root)
        config, entries = self.config, self._entries(root)
        splits = draw_splits(entries, self.seed, config.val_share, config.test_share)
        clips = [self._clip(root, file, entry, splits[file]) for file, entry in entries.items()]
        clips.sort(key=lambda clip: clip.clip_id)
        self._check_emptied(root, {clip.source for clip in clips})
        counts = Counter(clip.clip_id for clip in clips)
        if repeated := [clip_id for clip_id, count in counts.items() if count > 1]:
            raise CheckError(f"two files of {root} have the id {repeated[0]}; rename one of them.")
        return clips

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Link one video."""
        return link(clip, self.workspace.raw)

    def left_out(self) -> str:
        """What is not used, in words: `2 hidden video(s), 3 other file(s) (.txt 3)`."""
        found = list(self._files(self.check_root(self.config.root), hidden=True))
        files = [file for file in found if not file.endswith("/")]
        hidden = sum(Path(file).name.startswith(".") and _is_video(file) for file in files)
        others = Counter(
            Path(file).suffix.lower() or "no suffix"
            for file in files
            if not _is_video(file) and file != self.config.csv and Path(file).name[0] != "."
        )
        words = [f"{hidden} hidden video(s)"] if hidden else []
        if len(files) < len(found):
            words.append(f"{len(found) - len(files)} hidden folder(s)")
        if others:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(others.items()))
            words.append(f"{others.total()} other file(s) ({kinds})")
        if self.config.only_listed:
            videos = {file for file in files if _is_video(file) and Path(file).name[0] != "."}
            if unlisted := len(videos - self._entries(self.check_root(self.config.root)).keys()):
                words.append(f"{unlisted} video(s) that {self.config.csv} does not name")
        return ", ".join(words)

    def _files(self, root: Path, *, hidden: bool = False) -> Iterator[str]:
        return files_below(root, hidden=hidden, inside=not self.config.follow_links)

    def _check_emptied(self, root: Path, sources: Collection[str]) -> None:
        """Pass unless a folder that had clips is empty now, as that of an unmounted disk is.

        Raises:
            CheckError: names the folder.
        """
        linked = (self.workspace.raw / self.name).glob("*")
        before = {path.readlink() for path in linked if path.is_symlink()}
        for source in sorted(path for path in before if str(path) not in sources):
            folder = next(parent for parent in source.parents if parent.is_dir())
            if folder.is_relative_to(root) and not any(folder.iterdir()):
                raise CheckError(
                    f"{folder} is empty, and videos of the last run came from it; is a disk not"
                    " mounted? Otherwise remove the folder."
                )

    def _entries(self, root: Path) -> dict[str, SpeakerEntry]:
        """What is known about each video, by its path in the folder."""
        config = self.config
        files = sorted(file for file in self._files(root) if _is_video(file))
        if config.csv:
            entries = _on_disk(read_speaker_list(root, config.csv, EXTENSIONS), files)
            unnamed = sorted(set(files) - entries.keys())
            if unnamed and not config.only_listed:
                raise UsageError(
                    f"{len(unnamed)} videos in {root} are not in {config.csv}, for example"
                    f" {unnamed[0]}; add them, or set download.folder.only_listed."
                )
        else:
            entries = {file: SpeakerEntry(speaker=_speaker_name(file)) for file in files}
        if not entries:
            raise UsageError(
                f"{root} has no videos, that is no files that end in"
                f" {' '.join(sorted(EXTENSIONS))}."
            )
        return entries

    def _clip(self, root: Path, file: str, entry: SpeakerEntry, split: str) -> SourceClip:
        config, source, path = self.config, root / file, Path(file)
        clip_id = f"{self.name}-{slug(entry.speaker)}-{slug(path.stem)}-{short_hash(file)}"
        return SourceClip(
            clip_id=clip_id,
            corpus=self.name,
            speaker=_unique_id(entry.speaker),
            group=_unique_id(group_of(entry)),
            gender=entry.gender,
            split=split,
            path=f"{self.name}/{clip_id}{path.suffix.lower()}",
            licence=config.licence,
            redistributable=config.redistributable,
            text=entry.text,
            source=str(source),
            fingerprint=fingerprint_of(source),
        )


def _is_video(file: str) -> bool:
    return Path(file).suffix.lower() in EXTENSIONS


def _on_disk(entries: dict[str, SpeakerEntry], files: Sequence[str]) -> dict[str, SpeakerEntry]:
    """The entries by the paths on disk, where the list spells a path in another Unicode form."""
    found = set(files)
    spelled = {unicodedata.normalize("NFC", file): file for file in files}
    by_file: dict[str, SpeakerEntry] = {}
    for name, entry in entries.items():
        file = name if name in found else spelled.get(unicodedata.normalize("NFC", name), name)
        by_file.setdefault(file, entry)
    return by_file


def _speaker_name(file: str) -> str:
    path = Path(file)
    return one_spelling(path.parts[0] if len(path.parts) > 1 else path.stem)


def _unique_id(name: str) -> str:
    """The id of a speaker or group; names with the same slug get different ids."""
    plain = slug(name)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:6]
    return f"{Folder.name}-{plain}" if plain == name else f"{Folder.name}-{plain}-{digest}"
