"""VoxCeleb2: from the official archives, from an extracted tree, or by its annotations.

Clips are found by the pattern `idNNNNN/<11 characters>/NNNNN.mp4`, wherever it begins, since the
releases differ in the folders above. The eleven characters are a YouTube id: they may hold or
begin with `-` and `_` and differ in case alone, so nothing is ever split at these.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from avsep.corpora import folder
from avsep.corpora.annotation_file import AnnotationFile, parse_annotation
from avsep.corpora.archives import Archive, Member, find_archives, list_members, read_member
from avsep.corpora.checksums import VOXCELEB2_MD5, check_archives
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip, item_error, write_file
from avsep.corpora.vox2_meta import Person, read_vox2_meta
from avsep.corpora.walk import files_below
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.session import fetch_videos
from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.outcome import SourceLog
from avsep.processes import map_items
from avsep.workspace import Workspace

CORPUS = "voxceleb2"
LICENCE = "VoxCeleb2: annotations CC-BY-4.0, videos of their owners; not to be shared"

_CLIP = re.compile(r"(?:^|.*/)(id\d{5})/([A-Za-z0-9_-]{11})/(\d{5})\.(mp4|txt)")


@dataclass(frozen=True, kw_only=True)
class VoxCeleb2Config:
    """Settings of VoxCeleb2.

    Attributes:
        root: the folder of your copy; relative to the project, or absolute.
        route: `tree` links extracted clips; `archives` reads the zip files or their parts and
            writes the clips into `data/raw`; `youtube` cuts them from the videos by the txt
            annotations (see `download.youtube`).
        parts: of the corpus, `dev` and `test`.
        meta: the list of speakers, relative to `root`; found anywhere below it.
        val_share: share of the speakers of `dev` in validation, by a hash of their names.
        max_speakers: take this many speakers of each part alone, by the same hash; None for all.
        check_md5: compare the archives with the published checksums before they are read.
        checksums: file of lines `<md5>  <archive>`, relative to `root`, for archives that the
            publishers list no checksum of.
        licence: kept with every clip.
    """

    root: str = ""
    route: Literal["tree", "archives", "youtube"] = "tree"
    parts: tuple[Literal["dev", "test"], ...] = ("dev", "test")
    meta: str = "vox2_meta.csv"
    val_share: float = 0.01
    max_speakers: int | None = None
    check_md5: bool = True
    checksums: str = ""
    licence: str = LICENCE

    def __post_init__(self) -> None:
        if not 0 <= self.val_share <= 1:
            raise ValueError(f"val_share is {self.val_share}; it is a share, 0 to 1.")
        if not self.parts:
            raise ValueError("parts is empty; name dev, test or both.")
        if self.max_speakers is not None and self.max_speakers < 1:
            raise ValueError(f"max_speakers is {self.max_speakers}; it must be at least 1.")


@dataclass(frozen=True)
class _Found:
    """A file that has the pattern."""

    path: str
    member: Member | None = None

    @property
    def fingerprint(self) -> str:
        if self.member is not None:
            return f"{self.member.crc:08x}-{self.member.size_bytes}"
        return folder.fingerprint_of(Path(self.path))


@dataclass
class _Pair:
    """The files of one utterance."""

    clip: _Found | None = None
    note: _Found | None = None


Key = tuple[str, str, str]
"""Speaker, video, utterance."""


@dataclass(frozen=True)
class VoxCeleb2:
    """A copy of VoxCeleb2.

    Attributes:
        config: its settings.
        workspace: the project's folders.
        seed: of the splits.
        youtube: settings of downloads.
    """

    config: VoxCeleb2Config
    workspace: Workspace
    seed: int
    youtube: YouTubeConfig
    ledger: SourceLog
    name: str = field(default=CORPUS, init=False)

    @cached_property
    def root(self) -> Path:
        """The folder of the copy."""
        return folder.checked_root(
            "download.voxceleb2.root", self.config.root, self.workspace.root, self.workspace.raw
        )

    @cached_property
    def archives(self) -> dict[str, Archive]:
        """The archives that are read, by name: of an extracted copy, those of annotations.

        Raises:
            CheckError: one is damaged, or a part is missing.
            UsageError: there is none.
        """
        kinds = ("_mp4", "_txt") if self.config.route == "archives" else ("_txt",)
        found = find_archives(
            self.root / file
            for file in files_below(self.root)
            if any(f"_{part}{kind}" in file for part in self.config.parts for kind in kinds)
        )
        wanted = {archive.name: archive for archive in found}
        if self.config.route == "archives" and not any("_mp4" in name for name in wanted):
            raise UsageError(
                f"{self.root} has no zip archives of VoxCeleb2 (vox2_dev_mp4_partaa ...,"
                " vox2_test_mp4.zip); for an extracted copy set voxceleb2.route to tree."
            )
        if self.config.check_md5:
            listed = self.root / self.config.checksums if self.config.checksums else None
            check_archives(wanted.values(), VOXCELEB2_MD5, listed, self.workspace.work("download"))
        return wanted

    def list_clips(self) -> list[SourceClip]:
        """What the copy holds.

        Raises:
            UsageError: no such folder, or nothing in it.
            CheckError: a clip is there twice, or a speaker is unknown.
        """
        pairs = self._pairs()
        people = self._people({speaker for speaker, _, _ in pairs})
        wanted = {
            key: pair
            for key, pair in pairs.items()
            if (pair.note if self.config.route == "youtube" else pair.clip)
            and people[key[0]].part in self.config.parts
        }
        chosen = self._chosen({key[0] for key in wanted}, people)
        wanted = {key: pair for key, pair in wanted.items() if key[0] in chosen}
        if not wanted:
            what = "annotations (txt)" if self.config.route == "youtube" else "clips"
            raise UsageError(
                f"{self.root} has no {what} of VoxCeleb2 named idNNNNN/<video>/NNNNN"
                f" in the part(s) {', '.join(self.config.parts)}."
            )
        groups = _groups(wanted, people)
        collisions = Counter("/".join(key).lower() for key in wanted)
        return sorted(
            (
                self._source_clip(key, pair, people[key[0]], groups[key[0]], collisions)
                for key, pair in wanted.items()
            ),
            key=lambda clip: clip.clip_id,
        )

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Bring one clip into the folder of raw clips.

        Raises:
            ItemError: the clip or its annotation is missing or damaged.
        """
        assert self.config.route != "youtube", "clips of YouTube are had a video at a time"
        note = self.note(clip)
        annotation = Annotation(scores=clip_scores(note), text=note.text) if note else None
        if clip.member is None:
            content = folder.link(clip, self.workspace.raw)
        else:
            pieces = read_member(self.archives[clip.member.archive], clip.member)
            content = write_file(self.workspace.raw / clip.path, pieces)
        return FileInfo(content.sha256, content.size_bytes, annotation)

    def fetch_all(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Bring many clips; yields what became of each, as they come."""
        if self.config.route != "youtube":
            yield from map_items(self.fetch, clips, workers=workers, timeout_s=timeout_s)
            return
        yield from fetch_videos(
            clips,
            self.youtube,
            read_annotation=self.note,
            ledger=self.ledger,
            raw=self.workspace.raw,
            work=self.workspace.work("download"),
            workers=workers,
            timeout_s=timeout_s,
        )

    def is_present(self, clip: SourceClip, content: FileInfo) -> bool:
        """Whether the raw file of a clip is there; `clean` looks at its bytes."""
        if self.config.route == "tree":
            return folder.linked(clip, self.workspace.raw)
        path = self.workspace.raw / clip.path
        return path.is_file() and path.stat().st_size == content.size_bytes

    def note(self, clip: SourceClip) -> AnnotationFile | None:
        """The annotation of a clip; None where the copy has none.

        Raises:
            ItemError: it cannot be read, is damaged, or is that of another video.
        """
        if not clip.annotation_path:
            return None
        if clip.annotation_member is not None:
            archive = self.archives[clip.annotation_member.archive]
            text = b"".join(read_member(archive, clip.annotation_member))
        else:
            try:
                text = Path(clip.annotation_path).read_bytes()
            except OSError as error:
                raise item_error(error, Path(clip.annotation_path)) from error
        note = parse_annotation(text, f"the annotation of {clip.origin}")
        if note.video and note.video != clip.video:
            raise ItemError(
                Reason.BAD_ANNOTATION,
                f"the annotation of {clip.origin} is of the video {note.video!r}.",
            )
        return note

    def _found(self) -> Iterator[tuple[str, _Found]]:
        """Name and place of all files that may be clips or annotations."""
        for file in files_below(self.root):
            if file.endswith(".txt") or (file.endswith(".mp4") and self.config.route == "tree"):
                yield file, _Found(str(self.root / file))
        for archive in self.archives.values():
            for member in list_members(archive):
                yield f"{archive.name}/{member.name}", _Found(member.name, member)

    def _pairs(self) -> dict[Key, _Pair]:
        pairs: dict[Key, _Pair] = defaultdict(_Pair)
        for name, found in self._found():
            if (match := _CLIP.fullmatch(name)) is None:
                continue
            speaker, video, utterance, suffix = match.groups()
            pair = pairs[speaker, video, utterance]
            before = pair.clip if suffix == "mp4" else pair.note
            if before is not None and suffix == "mp4":
                raise CheckError(
                    f"{speaker}/{video}/{utterance} is in {self.root} twice: {before.path} and"
                    f" {found.path}; take one of them away."
                )
            if suffix == "mp4":
                pair.clip = found
            elif before is None or before.member is not None:  # a file beats an archive
                pair.note = found
        return dict(pairs)

    def _people(self, speakers: set[str]) -> dict[str, Person]:
        """Gender and part of each speaker.

        Raises:
            UsageError: there is no list of speakers.
            CheckError: a speaker with clips is not on it.
        """
        name = self.config.meta
        path = self.root / name
        if not path.is_file():
            below = [file for file in files_below(self.root) if Path(file).name == Path(name).name]
            if not below:
                raise UsageError(
                    f"{name} is not below {self.root}; the publishers' page has it, and it says"
                    " who is in the test."
                )
            path = self.root / below[0]
        people = read_vox2_meta(path)
        if unknown := sorted(speakers - people.keys()):
            raise CheckError(
                f"{len(unknown)} speaker(s) with clips are not in {path}, for example {unknown[0]}."
            )
        return people

    def _chosen(self, speakers: set[str], people: Mapping[str, Person]) -> set[str]:
        if self.config.max_speakers is None:
            return speakers
        by_part: dict[str, list[str]] = defaultdict(list)
        for speaker in sorted(speakers, key=lambda s: folder.place_of(s, self.seed)):
            by_part[people[speaker].part].append(speaker)
        return {s for names in by_part.values() for s in names[: self.config.max_speakers]}

    def _source_clip(
        self, key: Key, pair: _Pair, person: Person, group: str, collisions: Mapping[str, int]
    ) -> SourceClip:
        speaker, video, utterance = key
        clip_id = f"vox2-{speaker}-{video}-{utterance}"
        test = person.part == "test"
        found = pair.clip if self.config.route != "youtube" else None
        # On disks that do not tell case, two ids may be one name.
        twin = collisions["/".join(key).lower()] > 1
        name = f"{clip_id}-{folder.digest_of(clip_id)}" if twin else clip_id
        note = pair.note
        return SourceClip(
            clip_id=clip_id,
            corpus=CORPUS,
            speaker=f"vox2-{speaker}",
            group=f"vox2-{group}",
            gender=person.gender,
            split="test"
            if test
            else folder.split_of(group, self.seed, self.config.val_share, test_share=0),
            path=f"{CORPUS}/{speaker}/{name}.mp4",
            licence=self.config.licence,
            source=found.path if found else "",
            fingerprint="+".join(part.fingerprint for part in (found, note) if part),
            video=video,
            origin="/".join(key),
            member=found.member if found else None,
            annotation_path=note.path if note else "",
            annotation_member=note.member if note else None,
        )


def clip_scores(note: AnnotationFile) -> dict[str, float]:
    """The header's scores, and of the boxes how much of the picture's height the face takes."""
    scores = dict(note.scores)
    if note.boxes is not None and not note.boxes.in_pixels:
        heights = sorted(height for _, _, _, height in note.boxes.rows)
        scores["box_height"] = round(heights[len(heights) // 2], 6)
    return scores


def _groups(keys: Iterable[Key], people: Mapping[str, Person]) -> dict[str, str]:
    """The group of each speaker: those of one part who share a video are one group."""
    leader: dict[str, str] = {}

    def find(speaker: str) -> str:
        while leader.setdefault(speaker, speaker) != speaker:
            leader[speaker] = speaker = leader[leader[speaker]]
        return speaker

    first: dict[tuple[str, str], str] = {}
    for speaker, video, _ in keys:
        other = first.setdefault((people[speaker].part, video), speaker)
        one, two = sorted((find(speaker), find(other)))
        leader[two] = one
    return {speaker: find(speaker) for speaker in leader}
