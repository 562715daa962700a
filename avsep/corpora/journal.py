"""Which raw files of a batch are there, so that a killed `download` goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsep.corpora.source_clip import Content, Notes, Offer
from avsep.files import write_text


class Journal:
    """One line of JSON a finished file. A line that a kill cut short is as if never written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, offers: Mapping[str, Offer]) -> dict[str, Content]:
        """What the finished files hold, by clip id; of these offers and their sources as now."""
        found: dict[str, Content] = {}
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                clip_id, stamp, sha256, size_bytes, *rest = json.loads(line)
                offer = offers.get(clip_id)
                notes = _notes(rest[0]) if rest else None
            except (ValueError, TypeError, KeyError):
                continue
            if offer is not None and offer.stamp == stamp:
                found[clip_id] = Content(sha256, size_bytes, notes)
        return found

    def add(self, offer: Offer, content: Content) -> None:
        """Note one finished file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as handle:
            # The line break comes first: it ends a line that a kill cut short.
            handle.write(f"\n{_line(offer, content)}".encode())
            handle.flush()
            os.fsync(handle.fileno())

    def rewrite(self, offers: Mapping[str, Offer], contents: Mapping[str, Content]) -> None:
        """Keep these finished files and forget all others."""
        lines = (_line(offers[clip_id], contents[clip_id]) for clip_id in sorted(contents))
        write_text(self.path, "\n".join(lines))


def _line(offer: Offer, content: Content) -> str:
    rest = [vars(content.notes)] if content.notes else []
    return json.dumps([offer.clip_id, offer.stamp, content.sha256, content.size_bytes, *rest])


def _notes(values: dict[str, Any]) -> Notes:
    tuples = {name: tuple(values[name]) for name in ("words", "word_times_s")}
    return Notes(annotation=values["annotation"], text=values["text"], **tuples)
