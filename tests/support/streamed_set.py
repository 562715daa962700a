"""A small set of several shards with its list of voices, for tests of reading in sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avsep.media.pcm import pcm_sha256
from avsep.mixing.training import TrainingList
from avsep.shards.codecs import Storage, encode_sample
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.manifest import write_manifest
from avsep.shards.writer import write_shard
from tests.support.synthetic_store import SyntheticStore, index_of
from tests.support.synthetic_workspace import stored_sample

NUM_FRAMES = 10  # of a window


def write_streamed_set(
    directory: Path, *, shards: int = 6, clips: int = 6, storage: Storage = "plain"
) -> TrainingList:
    """Write the training clips of four speakers over some shards; returns their voices."""
    store = SyntheticStore(clips=clips, num_frames=20)
    store.index = index_of(
        replace(row, audio_sha256=pcm_sha256(store.audio(row.key))) for row in store.index
    )
    directory.mkdir(parents=True)
    train = sorted((row for row in store.index if row.split == "train"), key=lambda row: row.key)
    entries, rows = [], []
    for number in range(shards):
        some = [
            stored_sample(store, row) for place, row in enumerate(train) if place % shards == number
        ]
        path = directory / f"train-{number:06d}.tar"
        encoded = [(s.key, encode_sample(s, storage), s.num_frames) for s in some]
        entries.append(write_shard(path, encoded, storage))
        rows += rows_of_shard(path)
    write_index(directory, rows)
    write_manifest(directory, entries, storage, settings="abc", tools={"numpy": "2"})
    return TrainingList(
        protocol="strict-2mix",
        version=1,
        seed=0,
        num_samples=NUM_FRAMES * 640,
        min_activity=0.0,
        voices=store.voices("train"),
    )
