"""A folder of the user's own videos: `<speaker>/<clip>.mp4`, or any files with a csv of speakers.

Without a csv the first folder below the root names the speaker, and each file that lies in the
root itself counts as a speaker of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avsep.corpora.source_clip import FileInfo, SourceClip, item_error, read_file_info
from avsep.corpora.speaker_list import Listed, read_speaker_list
from avsep.corpora.walk import files_below
from avsep.errors import CheckError, UsageError
from avsep.files import sha256_text

CORPUS = "folder"
EXTENSIONS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg"})
SLUG_LIMIT = 60  # characters


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Settings of a folder of videos.

    Attributes:
        root: the folder; relative to the project, or absolute.
        csv: file with the columns file, speaker and, if wanted, gender, split, group, text;
            relative to `root`. Empty: the folders name the speakers.
        only_listed: leave out the videos that the csv does not name; else they are an error.
        val_share: share of groups (speakers, where the csv gives no groups) in validation.
        test_share: likewise in the test. Which ones is decided by a hash, so it stays as it is
            when others are added; with few speakers a split may be empty.
        licence: SPDX id or a short text, kept with every clip.
        redistributable: whether the licence lets others have the clips.
    """

    root: str = ""
    csv: str = ""
    only_listed: bool = False
    val_share: float = 0.1
    test_share: float = 0.1
    licence: str = ""
    redistributable: bool = False

    def __post_init__(self) -> None:
        for name in ("val_share", "test_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, 0 to 1.")
        if self.val_share + self.test_share > 1:
            raise ValueError(
                f"val_share and test_share add up to {self.val_share + self.test_share:g};"
                " at most 1 is possible."
            )
        if self.only_listed and not self.csv:
            raise ValueError("only_listed needs a csv; name it in csv.")


def list_clips(config: FolderConfig, project: Path, raw: Path, seed: int) -> list[SourceClip]:
    """The clips of the folder, sorted by clip id.

    Args:
        config: of the folder.
        project: what a relative root is relative to.
        raw: the folder of raw clips, which must not lie inside the root or around it.
        seed: of the splits.

    Raises:
        UsageError: no such folder, no videos in it, or a csv that does not fit it.
        CheckError: two files with the same id.
    """
    root = checked_root("download.folder.root", config.root, project, raw)
    found = sorted(_videos(root))
    if config.csv:
        listed = read_speaker_list(root, config.csv, EXTENSIONS)
        unnamed = sorted(set(found) - listed.keys())
        if unnamed and not config.only_listed:
            raise UsageError(
                f"{len(unnamed)} videos in {root} are not in {config.csv}, for example"
                f" {unnamed[0]}; add them, or set download.folder.only_listed."
            )
    else:
        listed = {file: Listed(speaker=_speaker_name(file)) for file in found}
    if not listed:
        raise UsageError(
            f"{root} holds no videos; looked for files ending in {' '.join(sorted(EXTENSIONS))}."
        )
    made = [_source_clip(config, root, file, entry, seed) for file, entry in listed.items()]
    made.sort(key=lambda clip: clip.clip_id)
    ids = Counter(clip.clip_id for clip in made)
    if twice := [clip_id for clip_id, count in ids.items() if count > 1]:
        raise CheckError(f"two files of {root} have the id {twice[0]}; rename one of them.")
    return made


def link(clip: SourceClip, raw: Path) -> FileInfo:
    """Link one video into `raw`; returns what it holds.

    Raises:
        ItemError: the file is missing or cannot be read.
    """
    source, target = Path(clip.source), raw / clip.path
    content = read_file_info(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(source)
        temporary.replace(target)
    except OSError as error:
        raise item_error(error, target) from error
    return content


def linked(clip: SourceClip, raw: Path) -> bool:
    """Whether `raw` has the link to the source already."""
    target = raw / clip.path
    return target.is_symlink() and str(target.readlink()) == clip.source


def checked_root(setting: str, value: str, project: Path, raw: Path) -> Path:
    """The folder that a corpus's `root` names.

    Args:
        setting: dotted name of the setting, for the sentence of an error.
        value: of the setting.
        project: what a relative value is relative to.
        raw: the folder of raw clips.

    Raises:
        UsageError: no such folder, or it lies in the folder of raw clips or around it.
    """
    root = (project / Path(value).expanduser()).resolve()
    if not value or not root.is_dir():
        raise UsageError(
            f"{setting} is {value!r}, which is no folder; set it to the folder with your videos."
        )
    ours = raw.resolve()
    if ours.is_relative_to(root) or root.is_relative_to(ours):
        raise UsageError(
            f"{setting} {root} and the project's {ours} lie in each other; keep your videos"
            " elsewhere."
        )
    return root


def _videos(root: Path) -> Iterator[str]:
    """Relative paths of all videos."""
    return (file for file in files_below(root) if Path(file).suffix.lower() in EXTENSIONS)


def _speaker_name(file: str) -> str:
    path = Path(file)
    return path.parts[0] if len(path.parts) > 1 else path.stem


def _source_clip(
    config: FolderConfig, root: Path, file: str, entry: Listed, seed: int
) -> SourceClip:
    source, path = root / file, Path(file)
    clip_id = f"{CORPUS}-{slug(entry.speaker)}-{slug(path.stem)}-{digest_of(file)}"
    group = entry.group or entry.speaker
    return SourceClip(
        clip_id=clip_id,
        corpus=CORPUS,
        speaker=_unique_id(entry.speaker),
        group=_unique_id(group),
        gender=entry.gender,
        split=entry.split or split_of(group, seed, config.val_share, config.test_share),
        path=f"{CORPUS}/{clip_id}{path.suffix.lower()}",
        licence=config.licence,
        redistributable=config.redistributable,
        text=entry.text,
        source=str(source),
        fingerprint=fingerprint_of(source),
    )


def fingerprint_of(source: Path) -> str:
    """A text that changes when a file does; empty where there is none."""
    try:
        status = source.stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def slug(name: str) -> str:
    """A name in the characters that ids may have; other names may give the same."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:SLUG_LIMIT] or "x"


def _unique_id(name: str) -> str:
    """A speaker's or group's id; names that a slug would make equal stay apart."""
    plain = slug(name)
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:6]
    return f"{CORPUS}-{plain}" if plain == name else f"{CORPUS}-{plain}-{digest}"


def split_of(group: str, seed: int, val_share: float, test_share: float) -> str:
    """The split of a group by the hash of its name: the same whatever else there is."""
    place = place_of(group, seed)
    if place < test_share:
        return "test"
    return "val" if place < test_share + val_share else "train"


def place_of(name: str, seed: int) -> float:
    """A place in 0..1 for a name, by its hash."""
    key = f"{seed}:{name}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return int(sha256_text(key)[:13], 16) / 16**13


def digest_of(name: str) -> str:
    """Eight hexadecimal digits that tell names apart, also on disks that do not tell case."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
