"""Plain folders, `<split>/<speaker>/<key>/`, of files that any program opens.

`audio.wav` is 16 kHz int16, `lips.mp4` is grey full-range H.264 at 25 frames per second,
`landmarks.npz` has the arrays of docs/shards.md, and `sample.json` the metadata: speaker, source,
scores.
"""

from __future__ import annotations

from pathlib import Path

from avsep.exporting.source import ExportSource
from avsep.files import inside, write_bytes
from avsep.media.pcm import encode_wav


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of samples."""
    count = 0
    for split in source.splits:
        for row in source.rows(split):
            folder = inside(out, split, row.speaker, row.key)
            write_bytes(folder / "audio.wav", encode_wav(source.store.audio(row.key)))
            write_bytes(folder / "lips.mp4", source.mp4(row.key))
            write_bytes(folder / "landmarks.npz", source.store.raw(row.key, "lmk.npz"))
            write_bytes(folder / "sample.json", source.store.raw(row.key, "json"))
            count += 1
    return count
