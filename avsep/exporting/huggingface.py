"""For Hugging Face `datasets`: one AudioFolder and one VideoFolder over the same samples.

`load_dataset("<out>/audio")` and `load_dataset("<out>/video")` find the splits by the names of the
folders, the files by the column `file_name` of each `metadata.jsonl`, and the rest as columns. The
metadata is not a csv, because `datasets` guesses the types of a csv file by file: the speaker
`00012` would become a number, and a split without texts would not match one with texts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from avsep.exporting.source import ExportSource
from avsep.files import inside, write_bytes, write_jsonl
from avsep.media.pcm import encode_flac
from avsep.shards.index import IndexRow

NAMES = {"train": "train", "val": "validation", "test": "test"}
COLUMNS = ("key", "speaker", "group", "gender", "text", "num_frames", "level_dbfs", "audio_sha256")


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of samples."""
    count = 0
    for split in source.splits:
        rows = source.rows(split)
        for row in rows:
            audio = encode_flac(source.store.audio(row.key))
            write_bytes(inside(out, "audio", NAMES[split], f"{row.key}.flac"), audio)
            write_bytes(inside(out, "video", NAMES[split], f"{row.key}.mp4"), source.mp4(row.key))
        if rows:  # `datasets` fails on a folder without files
            for kind, suffix in (("audio", "flac"), ("video", "mp4")):
                lines = [_metadata(row, suffix) for row in rows]
                write_jsonl(out / kind / NAMES[split] / "metadata.jsonl", lines)
        count += len(rows)
    return count


def _metadata(row: IndexRow, suffix: str) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in COLUMNS}
    if not math.isfinite(row.level_dbfs):  # silence; JSON cannot express minus infinity or NaN
        values["level_dbfs"] = None
    return {"file_name": f"{row.key}.{suffix}", **values}
