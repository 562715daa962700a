"""The synthetic store as real shards and mixtures in a workspace."""

from dataclasses import replace

from avsep.media.pcm import pcm_sha256
from avsep.mixing.recipes import write_recipes
from avsep.mixing.training import TrainingList, write_training
from avsep.schema import Sample
from avsep.shards.codecs import encode_sample
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.manifest import write_manifest
from avsep.shards.writer import write_shard
from avsep.workspace import Workspace
from tests.support.synthetic_store import SyntheticStore, index_of


def make_workspace(root, num_frames=50, licence="") -> Workspace:
    workspace, store = Workspace(root), SyntheticStore(clips=2, num_frames=num_frames + 5)
    store.index = index_of(
        replace(row, audio_sha256=pcm_sha256(store.audio(row.key))) for row in store.index
    )
    workspace.shards.mkdir(parents=True)
    entries, rows = [], []
    for split in ("train", "val"):
        samples = [stored_sample(store, row, licence) for row in store.index if row.split == split]
        path = workspace.shards / f"{split}-000000.tar"
        encoded = [(s.key, encode_sample(s, "plain"), s.num_frames) for s in samples]
        entries.append(write_shard(path, encoded, "plain"))
        rows += rows_of_shard(path)
    write_index(workspace.shards, rows)
    write_manifest(workspace.shards, entries, "plain", settings="abc", tools={"numpy": "2"})
    listed = TrainingList(
        protocol="strict-2mix",
        version=1,
        seed=0,
        num_samples=num_frames * 640,
        min_activity=0.2,
        voices=store.voices("train"),
    )
    write_training(workspace.mixtures / "train.parquet", listed)
    write_recipes(workspace.mixtures / "val.jsonl", store.val(2, num_frames))
    return workspace


def stored_sample(store, row, licence="") -> Sample:
    """A sample of the store, with the metadata of one that was extracted."""
    audio = store.audio(row.key)
    meta = {
        "version": 1, "key": row.key, "clip_id": row.key, "corpus": "x", "speaker": row.speaker,
        "group": row.speaker, "gender": "", "split": row.split, "num_frames": row.num_frames,
        "num_samples": len(audio), "multi_voice": False, "level_dbfs": -24.5,
        "audio_sha256": row.audio_sha256, "quality": {"missing_share": 0.0}, "licence": licence,
        "redistributable": bool(licence), "text": "", "backend": {"name": "drawn"},
        "source": {"path": "a.mp4"},
    }  # fmt: skip
    return Sample(
        key=row.key,
        audio=audio,
        lips=store.lips(row.key),
        landmarks=store.landmarks(row.key),
        meta=meta,
    )
