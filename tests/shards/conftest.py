"""Small samples with natural-looking content, and sets of shards made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from avsep.media.pcm import pcm_sha256
from avsep.schema import LIPS_SIZE, SAMPLES_PER_FRAME, Landmarks, Sample
from avsep.shards.codecs import Storage, encode_sample
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.manifest import write_manifest
from avsep.shards.writer import write_shard


def moving_mouth(frames: int, seed: int = 0) -> np.ndarray:
    """A bright, shaded face with a dark mouth that opens and closes: (frames, 96, 96) uint8.

    Like real crops it reaches from near black to near white, has soft edges and a little noise.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:LIPS_SIZE, :LIPS_SIZE].astype(np.float64) - LIPS_SIZE / 2
    skin = 175 + 60 * np.sin(x / 40) * np.cos(y / 50) + 12 * np.sin(x / 3.1) * np.sin(y / 4.3)
    pictures = []
    for frame in range(frames):
        opening = 6 + 5 * np.sin(frame / 2 + seed)
        mouth = 1 / (1 + np.exp(6 * (np.hypot(x / 26, y / opening) - 1)))
        picture = skin * (1 - mouth) + 8 * mouth + generator.normal(size=x.shape)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


def landmarks_like(frames: int, seed: int = 0) -> Landmarks:
    """Finite landmarks of the right types and shapes."""
    generator = np.random.default_rng(seed)
    return Landmarks(
        points=generator.uniform(20, 200, (frames, 68, 3)).astype(np.float16),
        valid=np.ones(frames, np.uint8),
        score=np.full(frames, 0.9, np.float16),
        box=generator.uniform(0, 1, (frames, 4)).astype(np.float32),
        to_mean_face=np.tile(np.array([[1.1, 0, 3], [0, 1.1, 5]], np.float32), (frames, 1, 1)),
        crop_xy=np.full((frames, 2), 80, np.float32),
    )


def _make_sample(name: str = "clip-a-t0", frames: int = 12, seed: int = 0) -> Sample:
    generator = np.random.default_rng(seed)
    audio = (generator.normal(size=frames * SAMPLES_PER_FRAME) * 2000).astype(np.int16)
    meta = {
        "version": 1,
        "key": name,
        "clip_id": name.rsplit("-t", 1)[0],
        "corpus": "test",
        "speaker": f"speaker-{seed % 3}",
        "group": f"speaker-{seed % 3}",
        "gender": "f",
        "split": "train",
        "num_frames": frames,
        "num_samples": len(audio),
        "multi_voice": False,
        "level_dbfs": -24.5,
        "audio_sha256": pcm_sha256(audio),
        "quality": {"missing_share": 0.0, "lag_frames": None},
        "licence": "CC0-1.0",
        "redistributable": True,
        "text": "wörter",
        "backend": {"name": "drawn", "version": "1"},
        "source": {"path": "a.mp4", "sha256": "0" * 64, "start_s": 0.0, "end_s": 1.0},
    }
    return Sample(
        key=name,
        audio=audio,
        lips=moving_mouth(frames, seed),
        landmarks=landmarks_like(frames, seed),
        meta=meta,
    )


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """A factory of samples: `make_sample(name, frames, seed)`."""
    return _make_sample


@pytest.fixture(scope="session")
def make_set() -> Callable[..., list[Sample]]:
    """A factory of sets: `make_set(directory, storage, shards=(2, 1), frames=6)`."""

    def make(
        directory: Path, storage: Storage, shards: Sequence[int] = (2, 1), frames: int = 6
    ) -> list[Sample]:
        directory.mkdir(parents=True, exist_ok=True)
        samples, entries, rows = [], [], []
        for number, count in enumerate(shards):
            first = len(samples)
            part = [
                _make_sample(f"clip-{first + i:02d}-t0", frames + i, seed=first + i)
                for i in range(count)
            ]
            samples += part
            path = directory / f"train-{number:06d}.tar"
            encoded = [(s.key, encode_sample(s, storage), s.num_frames) for s in part]
            entries.append(write_shard(path, encoded, storage))
            rows += rows_of_shard(path)
        write_index(directory, rows)
        write_manifest(directory, entries, storage, settings="abc", tools={"numpy": "2"})
        return samples

    return make
