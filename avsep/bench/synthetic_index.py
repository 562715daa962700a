"""Sets of shards of any size without content: to measure what the index and the tables cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.files import sha256_text
from avsep.shards.codecs import MEMBERS
from avsep.shards.index import IndexRow
from avsep.shards.index_table import write_tables
from avsep.shards.manifest import Manifest, write_manifest
from avsep.shards.tar import BLOCK
from avsep.shards.writer import ShardEntry, keys_sha256
from avsep.tables import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

VOXCELEB2_ROWS, VOXCELEB2_SPEAKERS = 1_128_246, 6_112
SCORES = ("blur", "face_px", "lag_frames", "missing_share", "noise_db", "roll_deg", "yaw_deg")
ROWS_PER_SHARD = 1000
_SIZES = (150_000, 1_500, 130_000, 90_000)  # of the members of `compact`, about


def synthetic_rows(count: int, *, seed: int = 0) -> pa.Table:
    """Rows of an index like that of VoxCeleb2, with the columns of `IndexRow`.

    There are as many clips per speaker as in VoxCeleb2; 1 in 50 speakers is in val or test.

    Args:
        count: number of rows.
        seed: seed of lengths, levels and scores.
    """
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    speaker = np.arange(count) % max(2, count * VOXCELEB2_SPEAKERS // VOXCELEB2_ROWS)
    split = np.where(speaker % 50, 0, 1 + speaker // 50 % 2)
    order = np.lexsort((np.arange(count), split))
    speaker, split = speaker[order], split[order]
    shard = np.arange(count) // ROWS_PER_SHARD
    keys = [f"voxceleb2-id{s:05d}-{i * 2654435761 % 2**32:08x}abc-{i % 1000:05d}" for i, s in
            enumerate(speaker.tolist())]  # fmt: skip
    sizes = np.array(_SIZES) + rng.integers(0, 50_000, (count, len(_SIZES)))
    ends = np.cumsum(BLOCK + (sizes + BLOCK - 1) // BLOCK * BLOCK, axis=1)
    starts = np.concatenate([np.zeros((count, 1), np.int64), ends[:, :-1]], axis=1) + BLOCK
    before = np.concatenate([[0], np.cumsum(ends[:, -1])[:-1]])
    starts += (before - before[shard * ROWS_PER_SHARD])[:, None]
    edges = np.arange(count + 1, dtype=np.int32)
    scores = pa.array(rng.normal(size=count * len(SCORES)).round(5))
    names = pa.array(SCORES * count)
    speakers = [f"id{s:05d}" for s in speaker.tolist()]
    columns = {
        "key": [f"{key}-t0" for key in keys],
        "shard": [f"part-{number:06d}.tar" for number in shard.tolist()],
        "clip_id": keys,
        "corpus": ["voxceleb2"] * count,
        "speaker": speakers,
        "group": speakers,
        "gender": ["fm"[s % 2] for s in speaker.tolist()],
        "split": [("train", "val", "test")[s] for s in split.tolist()],
        "num_frames": rng.integers(100, 400, count),
        "multi_voice": rng.random(count) < 0.02,
        "level_dbfs": rng.normal(-26, 4, count).round(4),
        "audio_sha256": [sha256_text(key) for key in keys],
        "text": [""] * count,
        "quality": pa.MapArray.from_arrays(edges * len(SCORES), names, scores),
        "offsets": pa.ListArray.from_arrays(edges * len(_SIZES), pa.array(starts.ravel())),
        "sizes": pa.ListArray.from_arrays(edges * len(_SIZES), pa.array(sizes.ravel())),
    }
    schema = arrow_schema(IndexRow)
    arrays = [
        value.cast(field.type) if isinstance(value := columns[field.name], pa.Array)
        else pa.array(value, field.type)
        for field in schema
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=schema)


def write_synthetic_set(directory: Path, count: int, *, seed: int = 0) -> Manifest:
    """Write a set of `count` samples whose shards are empty files of the right size."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = synthetic_rows(count, seed=seed)
    write_tables(directory, rows)
    entries = []
    for first in range(0, count, ROWS_PER_SHARD):
        part = rows.slice(first, ROWS_PER_SHARD)
        last = part.slice(len(part) - 1, 1).to_pylist()[0]
        size = last["offsets"][-1] + last["sizes"][-1] + 2 * BLOCK
        with (directory / last["shard"]).open("wb") as shard:
            shard.truncate(size)
        entries.append(
            ShardEntry(
                name=last["shard"],
                size_bytes=size,
                sha256="0" * 64,
                num_samples=len(part),
                num_frames=int(np.sum(part["num_frames"].to_numpy())),
                keys_sha256=keys_sha256(part["key"].to_pylist()),
            )
        )
    assert len(MEMBERS["compact"]) == len(_SIZES)
    return write_manifest(directory, entries, "compact")
