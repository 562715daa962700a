"""Clips for the benchmark of loading: in shards of each storage, and as loose files beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avsep.media.pcm import encode_wav, pcm_sha256
from avsep.schema import LIPS_SIZE, RATE_HZ, SAMPLES_PER_FRAME, Landmarks, Sample
from avsep.shards.codecs import META_KEYS, Storage, encode_sample
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.manifest import write_manifest
from avsep.shards.store import ShardStore
from avsep.shards.writer import write_shard

DISTINCT = 8  # clips with a content of their own; the others repeat it under other names
LOOSE = ("loose stored", "loose compressed")  # npz of pictures and landmarks, and a wav, per clip


@dataclass(frozen=True)
class Form:
    """The same clips in one form.

    Attributes:
        name: `compact`, `plain`, or one of `LOOSE`.
        folder: folder of its files.
        size_bytes: size of its files.
    """

    name: str
    folder: Path
    size_bytes: int

    def drop_from_memory(self) -> None:
        """Tell the system to forget the files, so that the next read comes from the disk."""
        for path in self.folder.iterdir():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def write_forms(samples: Sequence[Sample], folder: Path) -> list[Form]:
    """Write samples in all forms."""
    storages: tuple[Storage, ...] = ("compact", "plain")
    for storage in storages:
        _write_set(samples, folder / storage, storage)
    for name, save in zip(LOOSE, (np.savez, np.savez_compressed), strict=True):
        (folder / name).mkdir(parents=True)
        for sample in samples:
            stem = folder / name / sample.key
            stem.with_suffix(".wav").write_bytes(encode_wav(sample.audio))
            save(f"{stem}.npz", data=sample.lips)
            save(f"{stem}.lmk.npz", pts=sample.landmarks.points, valid=sample.landmarks.valid)
    os.sync()  # pages that are not on the disk yet cannot be dropped from memory
    return [
        Form(path.name, path, sum(file.stat().st_size for file in path.iterdir()))
        for path in (folder / name for name in (*storages, *LOOSE))
    ]


def _write_set(samples: Sequence[Sample], folder: Path, storage: Storage) -> None:
    folder.mkdir(parents=True)
    path = folder / "train-000000.tar"
    encoded = [(one.key, encode_sample(one, storage), one.num_frames) for one in samples]
    entry = write_shard(path, encoded, storage)
    write_index(folder, rows_of_shard(path))
    write_manifest(folder, [entry], storage)


def drawn_samples(count: int, num_frames: int) -> list[Sample]:
    """Samples with the detail and the noise of real crops and the spectrum of voiced speech.

    Args:
        count: number of samples; see `DISTINCT`.
        num_frames: length of each.
    """
    drawn = [
        (_mouth(n, num_frames), _voice(n, num_frames), _landmarks(n, num_frames))
        for n in range(min(count, DISTINCT))
    ]
    return [_sample(n, *drawn[n % len(drawn)]) for n in range(count)]


def stored_samples(shards: Path, count: int, num_frames: int) -> list[Sample]:
    """The beginnings of samples of a set; each is repeated under other names if there are few.

    Raises:
        ValueError: no sample is long enough.
    """
    store = ShardStore(shards, cache_bytes=0)
    rows = np.flatnonzero(store.index.column("num_frames") >= num_frames)[:DISTINCT]
    if not len(rows):
        raise ValueError(f"{shards} has no sample of {num_frames} frames; choose fewer seconds.")
    found = [store.sample(store.index.text("key", int(row))) for row in rows]
    return [
        _sample(
            number,
            one.lips[:num_frames],
            one.audio[: num_frames * SAMPLES_PER_FRAME],
            replace(one.landmarks, **{k: v[:num_frames] for k, v in vars(one.landmarks).items()}),
        )
        for number in range(count)
        for one in [found[number % len(found)]]
    ]


def _sample(number: int, lips: np.ndarray, audio: np.ndarray, landmarks: Landmarks) -> Sample:
    key, speaker = f"clip-{number:04d}-t0", f"s{number % DISTINCT}"
    meta: dict[str, Any] = dict.fromkeys(META_KEYS, "") | {
        "key": key, "clip_id": key[:-3], "speaker": speaker, "group": speaker, "split": "train",
        "num_frames": len(lips), "num_samples": len(audio), "multi_voice": False,
        "level_dbfs": None, "audio_sha256": pcm_sha256(audio), "quality": {},
    }  # fmt: skip
    return Sample(key=key, audio=audio, lips=lips, landmarks=landmarks, meta=meta)


def _mouth(number: int, num_frames: int) -> np.ndarray:
    """A mouth that opens, closes and moves in a shaded face with grain, (num_frames, 96, 96)."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:LIPS_SIZE, :LIPS_SIZE].astype(np.float32) - LIPS_SIZE / 2
    pictures = np.empty((num_frames, LIPS_SIZE, LIPS_SIZE), np.uint8)
    for frame in range(num_frames):
        right, down = x - 2 * np.sin(frame / 9 + number), y - 1.5 * np.cos(frame / 7)
        skin = 150 + 60 * np.sin(right / 40) * np.cos(down / 50) + 6 * np.sin(right * down / 90)
        skin += 12 * np.sin(right / 3.1) * np.sin(down / 4.3)
        opening = 6 + 5 * np.sin(frame / 2 + number)
        inside = 1 / (1 + np.exp(6 * (np.hypot(right / 26, down / opening) - 1)))
        picture = skin * (1 - inside) + 8 * inside + rng.normal(0, 2.5, x.shape)
        pictures[frame] = picture.clip(0, 255)
    return pictures


def _voice(number: int, num_frames: int) -> np.ndarray:
    """Harmonics of a gliding pitch, in syllables, with a little noise; (640 num_frames,) int16."""
    rng = np.random.default_rng(number)
    time_s = np.arange(num_frames * SAMPLES_PER_FRAME) / RATE_HZ
    pitch_hz = 100 + 20 * number + 15 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    loud = np.clip(np.sin(2 * np.pi * 3.1 * time_s + number) + 0.4, 0, None)
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * loud * 2500
    return np.rint(voice + rng.normal(0, 120, len(time_s))).astype(np.int16)


def _landmarks(number: int, num_frames: int) -> Landmarks:
    """A face that wanders about, with jitter."""
    rng = np.random.default_rng(number)
    face = np.random.default_rng(0).uniform([50, 40, -30], [170, 180, 30], (68, 3))
    way = np.cumsum(rng.normal(0, 0.2, (num_frames, 1, 3)), axis=0)
    maps = np.tile(np.array([[1.1, 0, 3], [0, 1.1, 5]]), (num_frames, 1, 1))
    return Landmarks(
        points=(face + way + rng.normal(0, 0.2, (num_frames, 68, 3))).astype(np.float16),
        valid=np.ones(num_frames, np.uint8),
        score=rng.uniform(0.8, 1, num_frames).astype(np.float16),
        box=rng.uniform(0, 1, (num_frames, 4)).astype(np.float32),
        to_mean_face=(maps + rng.normal(0, 0.01, maps.shape)).astype(np.float32),
        crop_xy=np.full((num_frames, 2), 80, np.float32),
    )
