"""Plain folders, `<split>/<speaker>/<key>/`, of files that any program opens.

`audio.wav` is 16 kHz int16, `lips.mp4` grey H.264 of full range at 25 frames a second,
`landmarks.npz` the arrays of docs/shards.md, `sample.json` who, from where and how good.
"""

from __future__ import annotations

from pathlib import Path

from avsep.exporting.source import ExportSource
from avsep.files import write_bytes
from avsep.media.pcm import encode_wav


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of samples."""
    count = 0
    for split in source.splits:
        for row in source.rows(split):
            folder = out / split / row.speaker / row.key
            write_bytes(folder / "audio.wav", encode_wav(source.store.audio(row.key)))
            write_bytes(folder / "lips.mp4", source.mp4(row.key))
            write_bytes(folder / "landmarks.npz", source.store.raw(row.key, "lmk.npz"))
            write_bytes(folder / "sample.json", source.store.raw(row.key, "json"))
            count += 1
    return count
