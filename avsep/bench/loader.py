"""Measure how fast training items are loaded: by storage, by augmentation, by number of workers."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
import wave
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader

from avsep.bench.loader_clips import LOOSE, Form, drawn_samples, stored_samples, write_forms
from avsep.bench.text import markdown
from avsep.bench.timing import time_once
from avsep.loading.config import AugmentConfig
from avsep.loading.cues import cut_landmarks, cut_lips
from avsep.loading.mixtures import TrainMixtures, collate
from avsep.loading.speed import NORMAL, frame_positions
from avsep.mixing.published_protocols import PROTOCOLS
from avsep.mixing.selection import voice_of
from avsep.mixing.training import TrainingDraw, TrainingList
from avsep.mixing.voice import find_activity
from avsep.schema import FPS, SAMPLES_PER_FRAME
from avsep.shards.store import ShardStore

T = TypeVar("T")
Row = dict[str, Any]
Window = tuple[str, int]  # key and first frame
BATCH = 8
AUGMENTATIONS = {
    "none": AugmentConfig(),
    "crop and flip": AugmentConfig(crop=True, flip=0.5),
    "all": AugmentConfig(
        crop=True, flip=0.5, light=0.3, shape=0.1, shift_frames=2, noise_px=0.5, level_db=6.0,
        eq_db=6.0, formants=0.15, speed=0.2,
    ),
}  # fmt: skip
COLUMNS: dict[str, dict[str, str]] = {
    "forms": {
        "form": "storage",
        "bytes_per_frame": "bytes per frame",
        "psnr_db": "PSNR of lips, dB",
        "per_cpu_s": "windows per CPU second",
        "per_s": "windows per second",
        "ratio": "CPU time against loose stored",
    },
    "augmentations": {
        "form": "storage",
        "augmentation": "augmentation",
        "per_cpu_s": "items per CPU second",
    },
    "workers": {
        "form": "storage",
        "workers": "workers",
        "per_s": "items per second",
        "per_cpu_s": "items per CPU second",
    },
}


def bench_loader(
    shards: Path | None = None,
    *,
    clips: int = 40,
    seconds: float = 8.0,
    window_s: float = 2.0,
    items: int = 96,
    runs: int = 5,
    workers: Sequence[int] = (0, 1, 2),
) -> dict[str, list[Row]]:
    """Measure loading from temporary files.

    Args:
        shards: a set whose samples are taken; drawn ones if None.
        clips: number of clips; every run reads one window of each.
        seconds: length of the clips.
        window_s: length of the windows and items.
        items: number of training items per run.
        runs: number of runs, the forms in turns; medians count.
        workers: numbers of loading processes.

    Returns:
        Rows of three tables, see `COLUMNS`. `forms`: windows of lips, sound and landmarks as the
        files hold them, each read from the disk; `augmentations` and `workers`: training items of
        two voices, from files in memory.

    Raises:
        ValueError: the clips are shorter than the windows, or the set has no sample long enough.
    """
    num_frames, length = round(seconds * FPS), round(window_s * FPS)
    if not 0 < length <= num_frames:
        raise ValueError(f"windows of {window_s:g} s do not fit into clips of {seconds:g} s.")
    samples = (
        drawn_samples(clips, num_frames)
        if shards is None
        else stored_samples(shards, clips, num_frames)
    )
    with tempfile.TemporaryDirectory() as folder:
        forms = write_forms(samples, Path(folder))
        lips = [sample.lips for sample in samples[: min(clips, 8)]]
        stores = {
            form.name: ShardStore(form.folder, cache_bytes=0)
            for form in forms
            if form.name not in LOOSE
        }
        first = np.random.default_rng(0).integers(num_frames - length + 1, size=clips)
        windows = [(s.key, int(f)) for s, f in zip(samples, first, strict=True)]
        return {
            "forms": _forms(forms, stores, windows, length, runs, lips),
            "augmentations": _augmentations(stores, length, items, runs),
            # Starting the processes is part of their time: more items make it small.
            "workers": _workers(stores, length, 4 * items, workers),
        }


def as_text(tables: dict[str, list[Row]]) -> str:
    """The tables in Markdown."""
    return "\n\n".join(markdown(COLUMNS[name], rows) for name, rows in tables.items())


def _forms(
    forms: Sequence[Form],
    stores: dict[str, ShardStore],
    windows: Sequence[Window],
    length: int,
    runs: int,
    lips: Sequence[np.ndarray],
) -> list[Row]:
    def reader(form: Form) -> Callable[[Window], object]:
        if form.name in LOOSE:
            return lambda window: _loose_window(form.folder, window, length)
        return lambda window: _stored_window(stores[form.name], window, length)

    times: dict[str, list[tuple[float, float]]] = {form.name: [] for form in forms}
    for _ in range(runs + 1):  # the first is not counted
        for form in forms:
            form.drop_from_memory()
            task = partial(_each, reader(form), windows)
            times[form.name].append(time_once(task, "cpu"))
    cpu_s = {name: statistics.median(cpu for _, cpu in pairs[1:]) for name, pairs in times.items()}
    frames = sum(len(one) for one in lips) / len(lips) * len(windows)
    rows = []
    for form in forms:
        wall_s = statistics.median(wall for wall, _ in times[form.name][1:])
        rows.append(
            {
                "form": form.name,
                "bytes_per_frame": form.size_bytes / frames,
                "psnr_db": _psnr_db(stores.get(form.name), lips),
                "per_cpu_s": len(windows) / cpu_s[form.name],
                "per_s": len(windows) / wall_s,
                "ratio": cpu_s[form.name] / cpu_s[LOOSE[0]],
            }
        )
    return rows


def _each(load: Callable[[T], object], things: Iterable[T]) -> None:
    for thing in things:
        load(thing)


def _stored_window(store: ShardStore, window: Window, length: int) -> object:
    key, first = window
    positions = frame_positions(first, length, NORMAL)
    span = first * SAMPLES_PER_FRAME, length * SAMPLES_PER_FRAME
    return (
        store.audio_window(key, *span).astype(np.float32),
        cut_lips(store, key, positions),
        cut_landmarks(store, key, positions),
    )


def _loose_window(folder: Path, window: Window, length: int) -> object:
    """The window as published training code reads it: the array is loaded, then cut."""
    key, first = window
    with wave.open(str(folder / f"{key}.wav")) as sound:
        sound.setpos(first * SAMPLES_PER_FRAME)
        audio = np.frombuffer(sound.readframes(length * SAMPLES_PER_FRAME), "<i2")
    span = slice(first, first + length)
    with np.load(folder / f"{key}.npz") as pictures, np.load(folder / f"{key}.lmk.npz") as marks:
        points, valid = marks["pts"][span].astype(np.float32), marks["valid"][span]
        return audio.astype(np.float32), pictures["data"][span], (points, valid)


def _psnr_db(store: ShardStore | None, lips: Sequence[np.ndarray]) -> float | None:
    """Of the stored pictures against the original ones; None where they are the same."""
    if store is None:
        return None
    keys = (store.index.text("key", number) for number in range(len(lips)))
    errors = [
        np.mean((store.lips(key).astype(np.float32) - one) ** 2)
        for key, one in zip(keys, lips, strict=True)
    ]
    error = float(np.mean(errors))
    return float(10 * np.log10(255**2 / error)) if error else None


def _augmentations(stores: dict[str, ShardStore], length: int, items: int, runs: int) -> list[Row]:
    rows = []
    for form, store in stores.items():
        data = {name: _data(store, length, augment) for name, augment in AUGMENTATIONS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in data}
        for _ in range(runs + 1):
            for name, one in data.items():
                seconds[name].append(
                    time_once(partial(_each, one.__getitem__, range(items)), "cpu")[1]
                )
        rows += [
            {"form": form, "augmentation": name, "per_cpu_s": items / statistics.median(cpu[1:])}
            for name, cpu in seconds.items()
        ]
    return rows


def _workers(
    stores: dict[str, ShardStore], length: int, items: int, workers: Sequence[int]
) -> list[Row]:
    rows = []
    for form, store in stores.items():
        for count in workers:
            loader = DataLoader(
                _data(store, length, AUGMENTATIONS["crop and flip"]),
                batch_sampler=[[*range(i, i + BATCH)] for i in range(0, items, BATCH)],
                collate_fn=collate,
                num_workers=count,
            )
            wall, cpu = time.perf_counter(), _cpu_s()
            batches = iter(loader)
            wall = time.perf_counter()  # starting the processes is not loading
            for _ in batches:
                pass
            wall = time.perf_counter() - wall
            del batches  # waits for the processes, whose time is known only then
            loaded = -(-items // BATCH) * BATCH
            rows.append(
                {
                    "form": form,
                    "workers": count,
                    "per_s": loaded / wall,
                    "per_cpu_s": loaded / (_cpu_s() - cpu),
                }
            )
    return rows


def _cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _data(store: ShardStore, length: int, augment: AugmentConfig) -> TrainMixtures:
    voices = []
    for row in store.index:
        level_dbfs, active = find_activity(store.audio(row.key))
        voices.append(voice_of(row, level_dbfs=level_dbfs, active=active))
    protocol = "strict-2mix"
    listed = TrainingList(
        protocol=protocol,
        version=PROTOCOLS[protocol].version,
        seed=0,
        num_samples=length * SAMPLES_PER_FRAME,
        min_activity=0.2,
        voices=tuple(voices),
    )
    draw = TrainingDraw(listed, store.audio)
    return TrainMixtures(store, draw, seed=0, cues=("lips", "landmarks"), augment=augment)
