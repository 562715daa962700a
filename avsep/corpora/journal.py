"""Which raw files of a batch are finished, so that a killed `download` continues where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.files import naming, write_text


class Journal:
    """A file with one line of JSON per finished raw file; incomplete lines are ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, clips: Mapping[str, SourceClip]) -> dict[str, FileInfo]:
        """What is known about the finished files, by clip id.

        Args:
            clips: clips by id. Lines about other clips, or about a source that has changed since,
                are left out.
        """
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

    def add(self, clip: SourceClip, info: FileInfo) -> None:
        """Append one finished file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), self.path.open("ab") as handle:
            # The line break comes first, so that it ends a line that a kill left incomplete.
            handle.write(f"\n{_line(clip, info)}".encode())
            handle.flush()
            os.fsync(handle.fileno())

    def rewrite(self, clips: Mapping[str, SourceClip], infos: Mapping[str, FileInfo]) -> None:
        """Replace the journal by the lines of these finished files."""
        lines = (_line(clips[clip_id], infos[clip_id]) for clip_id in sorted(infos))
        write_text(self.path, "\n".join(lines))


def _line(clip: SourceClip, info: FileInfo) -> str:
    rest = [info.annotation.columns()] if info.annotation else []
    return json.dumps([clip.clip_id, clip.fingerprint, info.sha256, info.size_bytes, *rest])


def _annotation(values: dict[str, Any]) -> Annotation:
    tuples = {name: tuple(values[name]) for name in ("words", "word_times_s")}
    return Annotation(scores=values["annotation"], text=values["text"], **tuples)
