"""The demo corpus as the stage `download` sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from avsep.corpora.corpus import Corpus
from avsep.corpora.demo.config import DemoConfig
from avsep.corpora.demo.corpus import (
    CORPUS,
    LICENCE,
    VERSION,
    DemoClip,
    clips_of,
    group_id,
    speaker_id,
    write_clip,
)
from avsep.corpora.demo.voices import load_voice
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import read_file_info
from avsep.errors import ItemError


@dataclass(frozen=True, kw_only=True)
class Demo(Corpus):
    """The demo corpus.

    Attributes:
        config: settings of the demo corpus.
    """

    name: ClassVar[str] = CORPUS
    config: DemoConfig

    def list_clips(self) -> list[SourceClip]:
        """All clips of the demo corpus, sorted by clip id."""
        clips = []
        for speaker, split in sorted(self.config.speakers()):
            voice = load_voice(speaker)
            clips += [
                SourceClip(
                    clip_id=clip.clip_id,
                    corpus=CORPUS,
                    speaker=speaker_id(speaker),
                    group=group_id(speaker),
                    gender=voice.gender,
                    split=split,
                    path=clip.path,
                    licence=LICENCE,
                    redistributable=True,
                    text=voice.texts[clip.number],
                    fingerprint=f"v{VERSION}-seed{self.seed}",
                )
                for clip in clips_of(self.config, speaker, split)
            ]
        return clips

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Render one clip."""
        speaker, number = (int(part[1:]) for part in clip.clip_id.split("-")[1:])
        path = self.workspace.raw / clip.path
        write_clip(DemoClip(speaker=speaker, number=number), path, seed=self.seed)
        return read_file_info(path)

    def is_present(self, clip: SourceClip, info: FileInfo) -> bool:
        """Whether the rendered file is unchanged."""
        try:
            return read_file_info(self.workspace.raw / clip.path) == info
        except ItemError:
            return False
