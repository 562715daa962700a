"""For auto_avsr: `<set>/<key>.mp4` with a wav beside it, and csv labels.

A line of `labels/<set>_<split>.csv` is `set,path,frames,tokens`. The tokens come from
auto_avsr's own SentencePiece model, which is not part of avsep: the field is empty, and the texts
are in `labels/<set>_<split>.txt`, in the same order.
"""

from __future__ import annotations

from pathlib import Path

from avsep.exporting.source import ExportSource
from avsep.files import inside, write_bytes, write_text
from avsep.media.pcm import encode_wav

SET = "avsep"


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of samples."""
    count = 0
    for split in source.splits:
        labels, texts = [], []
        for row in source.rows(split):
            folder = out / SET / split
            write_bytes(inside(folder, f"{row.key}.mp4"), source.mp4(row.key))
            write_bytes(inside(folder, f"{row.key}.wav"), encode_wav(source.store.audio(row.key)))
            labels.append(f"{SET},{split}/{row.key}.mp4,{row.num_frames},\n")
            texts.append(f"{' '.join(row.text.upper().split())}\n")
        write_text(out / "labels" / f"{SET}_{split}.csv", "".join(labels))
        write_text(out / "labels" / f"{SET}_{split}.txt", "".join(texts))
        count += len(labels)
    return count
