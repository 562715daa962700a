"""Which raw files of a batch are there, so that a killed `download` goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.files import write_text


class Journal:
    """One line of JSON a finished file. A line that a kill cut short is as if never written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, clips: Mapping[str, SourceClip]) -> dict[str, FileInfo]:
        """What the finished files hold, by clip id; of these clips and their sources as now."""
        found: dict[str, FileInfo] = {}
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                clip_id, fingerprint, sha256, size_bytes, *rest = json.loads(line)
                clip = clips.get(clip_id)
                annotation = _annotation(rest[0]) if rest else None
            except (ValueError, TypeError, KeyError):
                continue
            if clip is not None and clip.fingerprint == fingerprint:
                found[clip_id] = FileInfo(sha256, size_bytes, annotation)
        return found

    def add(self, clip: SourceClip, content: FileInfo) -> None:
        """Note one finished file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as handle:
            # The line break comes first: it ends a line that a kill cut short.
            handle.write(f"\n{_line(clip, content)}".encode())
            handle.flush()
            os.fsync(handle.fileno())

    def rewrite(self, clips: Mapping[str, SourceClip], contents: Mapping[str, FileInfo]) -> None:
        """Keep these finished files and forget all others."""
        lines = (_line(clips[clip_id], contents[clip_id]) for clip_id in sorted(contents))
        write_text(self.path, "\n".join(lines))


def _line(clip: SourceClip, content: FileInfo) -> str:
    rest = [content.annotation.columns()] if content.annotation else []
    return json.dumps([clip.clip_id, clip.fingerprint, content.sha256, content.size_bytes, *rest])


def _annotation(values: dict[str, Any]) -> Annotation:
    tuples = {name: tuple(values[name]) for name in ("words", "word_times_s")}
    return Annotation(scores=values["annotation"], text=values["text"], **tuples)
