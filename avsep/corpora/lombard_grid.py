"""Lombard GRID: `front/sN_p_<code>.mov` and `audio/sN_p_<code>.wav`, extracted or in archives.

Where the sound of a clip lies in a file of its own, it takes the place of the sound in the video.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from avsep.corpora.archives import read_member
from avsep.corpora.config import LombardGridConfig
from avsep.corpora.folder_splits import draw_splits
from avsep.corpora.found_file import FoundFile
from avsep.corpora.grid_names import LOMBARD_FILE, LOMBARD_SPEAKERS, words_of
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.corpora.source_files import item_error, read_file_info, write_file
from avsep.corpora.speaker_list import SpeakerEntry
from avsep.corpora.zip_corpus import ZipCorpus
from avsep.errors import CheckError, UsageError

_SPEECH = {"p": "plain", "l": "lombard"}


@dataclass(frozen=True, kw_only=True)
class LombardGrid(ZipCorpus):
    """A copy of Lombard GRID.

    Attributes:
        config: settings of Lombard GRID.
    """

    name: ClassVar[str] = "lombard-grid"
    config: LombardGridConfig

    def list_clips(self) -> list[SourceClip]:
        """The clips of one view, sorted by clip id.

        Raises:
            UsageError: the folder does not exist or has no such clips.
            CheckError: an archive is damaged, or a speaker is unknown.
        """
        config = self.config
        videos: dict[str, tuple[str, str, FoundFile]] = {}
        sounds: dict[str, FoundFile] = {}
        for match, file in self.find(LOMBARD_FILE):
            stem, speaker, kind, code, wrong, suffix = match.groups()
            name = stem + (wrong or "")
            if speaker not in LOMBARD_SPEAKERS:
                raise CheckError(f"{file.path} is of {speaker}; Lombard GRID has s2 to s55.")
            if suffix == "wav":
                sounds[name] = file
            elif (
                f"{config.view}/" in f"/{match[0]}"
                and _SPEECH[kind] in config.speech
                and (config.wrong or not wrong)
            ):
                videos[name] = (speaker, "" if wrong else code, file)
        if not videos:
            raise UsageError(
                f"{self.root} has no clips {config.view}/sN_p_<six characters>.mov of Lombard GRID,"
                " extracted or in lombardgrid_*.zip; `avsep fetch lombard-grid` downloads them."
            )
        speakers = {speaker: SpeakerEntry(speaker=speaker) for speaker, *_ in videos.values()}
        splits = draw_splits(speakers, self.seed, config.val_share, config.test_share)
        clips = [
            self._clip(name, speaker, code, file, sounds.get(name), splits[speaker])
            for name, (speaker, code, file) in videos.items()
        ]
        return sorted(clips, key=lambda clip: clip.clip_id)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Bring one clip, with its own sound where that is a file of its own."""
        annotation = Annotation(text=clip.text)
        if not clip.annotation_path:
            return replace(self.bring(clip), annotation=annotation)
        from avsep.media.join_sound import join_sound

        target = self.workspace.raw / clip.path
        with tempfile.TemporaryDirectory(prefix="avsep-clip-") as folder:
            video = self._on_disk(FoundFile(clip.source, clip.member), Path(folder))
            sound = self._on_disk(
                FoundFile(clip.annotation_path, clip.annotation_member), Path(folder)
            )
            try:
                join_sound(video, sound, target)
            except OSError as error:
                raise item_error(error, target) from error
        return replace(read_file_info(target), annotation=annotation)

    def left_out(self) -> str:
        """Videos whose names are not those of clips."""
        return self.unknown_names(".mov", LOMBARD_FILE)

    def _on_disk(self, file: FoundFile, folder: Path) -> Path:
        if file.member is None:
            return Path(file.path)
        path = folder / f"clip{Path(file.path).suffix}"
        write_file(path, read_member(self.archives[file.member.archive], file.member))
        return path

    def _clip(
        self,
        name: str,
        speaker: str,
        code: str,
        video: FoundFile,
        sound: FoundFile | None,
        split: str,
    ) -> SourceClip:
        config = self.config
        both: Iterable[FoundFile | None] = (video, sound)
        return SourceClip(
            clip_id=f"lombard-grid-{config.view}-{name.replace('#', '-')}",
            corpus=self.name,
            speaker=f"lombard-grid-{speaker}",
            group=f"lombard-grid-{speaker}",
            gender="",
            split=split,
            path=f"{self.name}/{speaker}/{config.view}-{name.replace('#', '-')}.mov",
            licence=config.licence,
            redistributable=True,
            text=" ".join(words_of(code)) if code else "",
            source=video.path,
            fingerprint="+".join(file.fingerprint for file in both if file),
            origin=f"{config.view}/{name}",
            member=video.member,
            annotation_path=sound.path if sound else "",
            annotation_member=sound.member if sound else None,
        )
