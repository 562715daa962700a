"""VoxCeleb2: from the official archives, from an extracted tree, or by its annotations.

Clips are found by the pattern `idNNNNN/<11 characters>/NNNNN.mp4`, in any folder, since releases
differ in the folders above. The eleven characters are a YouTube id. It may contain and begin with
`-` and `_`, and two ids may differ in case only, so no name is ever split at these characters.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from avsep.corpora.annotation_file import MAX_BYTES, AnnotationFile, parse_annotation
from avsep.corpora.archives import Archive, find_archives, list_members, read_member
from avsep.corpora.checksums import VOXCELEB2_MD5, check_archives
from avsep.corpora.config import VoxCeleb2Config
from avsep.corpora.corpus import CorpusSize, examples
from avsep.corpora.found_file import FoundFile
from avsep.corpora.ids import hash_fraction, short_hash, split_of
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.corpora.source_files import (
    is_linked,
    link,
    read_bytes,
    write_file,
)
from avsep.corpora.vox2_meta import Person, read_vox2_meta
from avsep.corpora.youtube_corpus import YouTubeCorpus
from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.files import files_below
from avsep.grouping import connected_groups

_CLIP = re.compile(r"(?:^|.*/)(id\d{5})/([A-Za-z0-9_-]{11})/(\d{5})\.(mp4|txt)")

Key = tuple[str, str, str]
"""Speaker, video and utterance."""


@dataclass(frozen=True, kw_only=True)
class VoxCeleb2(YouTubeCorpus):
    """A copy of VoxCeleb2.

    Attributes:
        config: settings of VoxCeleb2.
    """

    name: ClassVar[str] = "voxceleb2"
    config: VoxCeleb2Config

    @cached_property
    def root(self) -> Path:
        """The folder of the copy."""
        return self.check_root(self.config.root)

    @cached_property
    def archives(self) -> dict[str, Archive]:
        """The archives to read, by name; of an extracted copy only those of annotations.

        Raises:
            CheckError: an archive is damaged, or a part is missing.
            UsageError: clips are to come from archives, and there are none.
        """
        kinds = ("_mp4", "_txt") if self.config.route == "archives" else ("_txt",)
        found = find_archives(
            self.root / file
            for file in files_below(self.root)
            if any(f"_{part}{kind}" in file for part in self.config.parts for kind in kinds)
        )
        archives = {archive.name: archive for archive in found}
        if self.config.route == "archives" and not any("_mp4" in name for name in archives):
            raise UsageError(
                f"{self.root} has no zip archives of VoxCeleb2 (vox2_dev_mp4_partaa ...,"
                " vox2_test_mp4.zip); for an extracted copy set voxceleb2.route to tree."
            )
        if self.config.check_md5:
            listed = self.root / self.config.checksums if self.config.checksums else None
            work = self.workspace.work("download")
            check_archives(archives.values(), VOXCELEB2_MD5, listed, work)
        return archives

    def list_clips(self) -> list[SourceClip]:
        """The clips of the copy, sorted by clip id.

        Raises:
            UsageError: the folder does not exist or has no clips.
            CheckError: a clip is there twice, or a speaker is unknown.
        """
        utterances, people = self._chosen_utterances()
        groups = _groups(utterances, people)
        lower_case = Counter("/".join(key).lower() for key in utterances)
        clips = []
        for key, utterance in utterances.items():
            unique = lower_case["/".join(key).lower()] == 1
            clips.append(self._clip(key, utterance, people[key[0]], groups[key[0]], unique=unique))
        return sorted(clips, key=lambda clip: clip.clip_id)

    def size(self) -> CorpusSize:
        """How much the copy holds, without a look at each of a million files."""
        utterances, _ = self._chosen_utterances()
        files = [files["mp4"] for _, files in sorted(utterances.items()) if "mp4" in files]
        by_route = files if self.config.route != "youtube" else []
        return CorpusSize(
            clips=len(utterances),
            videos=len({video for _, video, _ in utterances}),
            archive_bytes=sum(file.member.size_bytes for file in by_route if file.member),
            examples=examples(Path(file.path) for file in by_route if not file.member),
        )

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Bring one clip into the folder of raw clips."""
        assert self.config.route != "youtube", "clips of YouTube are downloaded video by video"
        file = self.read_annotation(clip)
        if clip.member is None:
            info = link(clip, self.workspace.raw)
        else:
            chunks = read_member(self.archives[clip.member.archive], clip.member)
            info = write_file(self.workspace.raw / clip.path, chunks)
        annotation = Annotation(scores=clip_scores(file), text=file.text) if file else None
        return replace(info, annotation=annotation)

    def fetch_all(
        self, clips: Iterable[SourceClip], *, workers: int, timeout_s: float
    ) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Bring many clips, in parallel; yields the result of each when it ends."""
        if self.config.route != "youtube":
            yield from super().fetch_all(clips, workers=workers, timeout_s=timeout_s)
            return
        yield from self.from_youtube(clips, workers=workers, timeout_s=timeout_s)

    def is_present(self, clip: SourceClip, info: FileInfo) -> bool:
        """Whether the raw file of a clip is still there; `clean` checks its bytes."""
        if self.config.route == "tree":
            return is_linked(clip, self.workspace.raw)
        path = self.workspace.raw / clip.path
        return path.is_file() and path.stat().st_size == info.size_bytes

    def read_annotation(self, clip: SourceClip) -> AnnotationFile | None:
        """The annotation of a clip; None if the copy has none.

        Raises:
            ItemError: it cannot be read, is damaged, or belongs to another video.
        """
        if not clip.annotation_path:
            return None
        if clip.annotation_member is not None:
            archive = self.archives[clip.annotation_member.archive]
            content = b"".join(read_member(archive, clip.annotation_member))
        else:
            content = read_bytes(Path(clip.annotation_path), MAX_BYTES)
        file = parse_annotation(content, f"the annotation of {clip.origin}")
        if file.video and file.video != clip.video:
            raise ItemError(
                Reason.BAD_ANNOTATION,
                f"the annotation of {clip.origin} is for another video, {file.video!r}.",
            )
        return file

    def _find_files(self) -> Iterator[tuple[str, FoundFile]]:
        """All files that may be clips or annotations, with their paths in the copy."""
        for file in files_below(self.root):
            if file.endswith(".txt") or (file.endswith(".mp4") and self.config.route == "tree"):
                yield file, FoundFile(str(self.root / file))
        for archive in self.archives.values():
            for member in list_members(archive):
                yield f"{archive.name}/{member.name}", FoundFile(member.name, member)

    def _find_utterances(self) -> dict[Key, dict[str, FoundFile]]:
        """The files of each utterance, by `mp4` and `txt`."""
        utterances: dict[Key, dict[str, FoundFile]] = defaultdict(dict)
        for name, found in self._find_files():
            if (match := _CLIP.fullmatch(name)) is None:
                continue
            speaker, video, number, suffix = match.groups()
            files = utterances[speaker, video, number]
            if suffix == "mp4" and suffix in files:
                raise CheckError(
                    f"{speaker}/{video}/{number} is in {self.root} twice: {files[suffix].path} and"
                    f" {found.path}; remove one of them."
                )
            # An annotation on the disk is used rather than one in an archive.
            if suffix not in files or files[suffix].member is not None:
                files[suffix] = found
        return dict(utterances)

    def _chosen_utterances(self) -> tuple[dict[Key, dict[str, FoundFile]], dict[str, Person]]:
        """The utterances of the chosen parts and speakers, and all speakers.

        Raises:
            UsageError: the folder does not exist or has no clips.
            CheckError: a clip is there twice, or a speaker is unknown.
        """
        needed = "txt" if self.config.route == "youtube" else "mp4"
        utterances = self._find_utterances()
        people = self._read_people({speaker for speaker, _, _ in utterances})
        utterances = {
            key: utterance
            for key, utterance in utterances.items()
            if needed in utterance and people[key[0]].part in self.config.parts
        }
        chosen = self._choose_speakers({speaker for speaker, _, _ in utterances}, people)
        utterances = {key: value for key, value in utterances.items() if key[0] in chosen}
        if not utterances:
            raise UsageError(
                f"{self.root} has no files of VoxCeleb2 named idNNNNN/<video>/NNNNN.{needed} in the"
                f" part(s) {', '.join(self.config.parts)}."
            )
        return utterances, people

    def _read_people(self, speakers: set[str]) -> dict[str, Person]:
        """Gender and part of each speaker.

        Raises:
            UsageError: there is no list of speakers.
            CheckError: a speaker with clips is not in the list.
        """
        name = self.config.meta
        path = self.root / name
        if not path.is_file():
            below = [file for file in files_below(self.root) if Path(file).name == Path(name).name]
            if not below:
                raise UsageError(
                    f"{name} is not below {self.root}; download it from the publishers' page. It"
                    " says which speakers are in the test part."
                )
            path = self.root / below[0]
        people = read_vox2_meta(path)
        if unknown := sorted(speakers - people.keys()):
            raise CheckError(
                f"{len(unknown)} speaker(s) with clips are not in {path}, for example {unknown[0]}."
            )
        return people

    def _choose_speakers(self, speakers: set[str], people: Mapping[str, Person]) -> set[str]:
        if self.config.max_speakers is None:
            return speakers
        by_part: dict[str, list[str]] = defaultdict(list)
        for speaker in sorted(speakers, key=lambda s: hash_fraction(s, self.seed)):
            by_part[people[speaker].part].append(speaker)
        return {s for names in by_part.values() for s in names[: self.config.max_speakers]}

    def _clip(
        self, key: Key, files: Mapping[str, FoundFile], person: Person, group: str, *, unique: bool
    ) -> SourceClip:
        speaker, video, number = key
        clip_id = f"vox2-{speaker}-{video}-{number}"
        found = files.get("mp4") if self.config.route != "youtube" else None
        annotation = files.get("txt")
        drawn = split_of(group, self.seed, self.config.val_share)
        # Where the disk ignores case, two ids that differ in case only would be one file.
        name = clip_id if unique else f"{clip_id}-{short_hash(clip_id)}"
        return SourceClip(
            clip_id=clip_id,
            corpus=self.name,
            speaker=f"vox2-{speaker}",
            group=f"vox2-{group}",
            gender=person.gender,
            split="test" if person.part == "test" else drawn,
            path=f"{self.name}/{speaker}/{name}.mp4",
            licence=self.config.licence,
            source=found.path if found else "",
            fingerprint="+".join(file.fingerprint for file in (found, annotation) if file),
            video=video,
            origin="/".join(key),
            member=found.member if found else None,
            annotation_path=annotation.path if annotation else "",
            annotation_member=annotation.member if annotation else None,
        )


def clip_scores(file: AnnotationFile) -> dict[str, float]:
    """The scores of the header, and the median height of the face as a share of the picture."""
    scores = dict(file.scores)
    if file.boxes is not None and not file.boxes.in_pixels:
        heights = sorted(height for _, _, _, height in file.boxes.rows)
        scores["box_height"] = round(heights[len(heights) // 2], 6)
    return scores


def _groups(keys: Iterable[Key], people: Mapping[str, Person]) -> dict[str, str]:
    """The group of each speaker, named by its first speaker.

    Speakers of one part who appear in the same video are in one group.
    """
    first: dict[tuple[str, str], str] = {}
    return connected_groups(
        (speaker, first.setdefault((people[speaker].part, video), speaker))
        for speaker, video, _ in keys
    )
