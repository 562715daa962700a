"""For Hugging Face `datasets`: one AudioFolder and one VideoFolder over the same samples.

`load_dataset("<out>/audio")` and `load_dataset("<out>/video")` find the splits by the names of the
folders, the files by the column `file_name` of each `metadata.csv`, and the rest as columns.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pipeline.exporting.source import ExportSource
from pipeline.shards.audio import encode_flac
from pipeline.shards.index import IndexRow
from pipeline.storage import write_bytes, write_text

NAMES = {"train": "train", "val": "validation", "test": "test"}
COLUMNS = ("key", "speaker", "group", "gender", "text", "num_frames", "level_dbfs", "audio_sha256")


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of samples."""
    count = 0
    for split in source.splits:
        rows = source.rows(split)
        for row in rows:
            audio = encode_flac(source.store.audio(row.key))
            write_bytes(out / "audio" / NAMES[split] / f"{row.key}.flac", audio)
            write_bytes(out / "video" / NAMES[split] / f"{row.key}.mp4", source.mp4(row.key))
        if rows:  # a folder of no files would be an error of the reader
            for kind, suffix in (("audio", "flac"), ("video", "mp4")):
                write_text(out / kind / NAMES[split] / "metadata.csv", _metadata(rows, suffix))
        count += len(rows)
    return count


def _metadata(rows: list[IndexRow], suffix: str) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["file_name", *COLUMNS])
    for row in rows:
        writer.writerow([f"{row.key}.{suffix}", *(getattr(row, name) for name in COLUMNS)])
    return buffer.getvalue()
