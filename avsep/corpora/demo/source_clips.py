"""The demo corpus as the download stage sees it."""

from __future__ import annotations

from pathlib import Path

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
from avsep.corpora.source_clip import FileInfo, SourceClip, read_file_info


def list_clips(config: DemoConfig, seed: int) -> list[SourceClip]:
    """All clips of the demo corpus, sorted by clip id."""
    made = []
    for speaker, split in sorted(config.speakers()):
        voice = load_voice(speaker)
        for clip in clips_of(config, speaker, split):
            made.append(
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
                    fingerprint=f"v{VERSION}-seed{seed}",
                )
            )
    return made


def render(clip: SourceClip, raw: Path, seed: int) -> FileInfo:
    """Render one clip into `raw`; returns what the file holds."""
    speaker, number = (int(part[1:]) for part in clip.clip_id.split("-")[1:])
    path = raw / clip.path
    write_clip(DemoClip(speaker=speaker, number=number), path, seed=seed)
    return read_file_info(path)
