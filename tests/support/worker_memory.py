"""The memory of a decode worker of `extract`, clip after clip, in the pool that the stage uses."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from avsep.errors import ItemError
from avsep.extraction.clip_job import ClipJob, extract_clip
from avsep.extraction.config import ExtractionConfig
from avsep.faces.backends import engine_options
from avsep.faces.engine.host import close_engines, engine_addresses
from avsep.files import sha256_file
from avsep.processes import map_items
from avsep.schema import Clip

KINDS = 6  # of videos, which take turns


def make_videos(folder: Path, frames: int, height: int = 224) -> list[Clip]:
    """A few drawn heads, in pictures of different widths; returns their clips."""
    from avsep.corpora.demo.corpus import DemoClip, talk
    from avsep.media.encode import write_mp4

    clips = []
    for kind in range(KINDS):
        made = talk(DemoClip(speaker=kind, number=0), seed=kind, num_frames=frames + 2)
        heads = np.stack([picture for picture, _ in made.frames])
        pictures = np.full((len(heads), height, height + 16 * kind, 3), 80, np.uint8)
        pictures[:, :224, :224] = heads
        path = folder / f"{kind}.mp4"
        write_mp4(path, pictures, made.audio)
        clips.append(_clip(path, frames, pictures.shape[2], height))
    return clips


def memory_of_worker(
    folder: Path, count: int, options: Mapping[str, Any], *, frames: int = 26, height: int = 224
) -> list[tuple[int, int]]:
    """The memory of a worker after each of `count` clips, see `_extract`.

    Args:
        folder: an empty folder.
        count: number of clips.
        options: options of the backend `mediapipe`.
        frames: number of frames per clip.
        height: of the pictures.
    """
    videos = make_videos(folder, frames, height)
    config = ExtractionConfig(backend_options=dict(options))
    shared = engine_options(config.backend, config.backend_options)
    engines = engine_addresses(config.backend, shared) if shared else ()
    jobs = [
        ClipJob(
            clip=replace(videos[number % KINDS], clip_id=f"clip-{number}"),
            raw=folder,
            folder=folder / "out",
            config=config,
            engines=engines,
        )
        for number in range(count)
    ]
    sizes = []
    try:
        for _, result in map_items(_extract, jobs, workers=1, timeout_s=300):
            if isinstance(result, ItemError):
                raise result
            sizes.append(result)
    finally:
        close_engines()
    return sizes


def _extract(job: ClipJob) -> tuple[int, int]:
    """Extract a clip and forget its files; returns resident memory, now and at most, in bytes."""
    extract_clip(job)
    for path in job.folder.glob(f"{job.clip.clip_id}.*"):
        path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return psutil.Process().memory_info().rss, peak


def _clip(path: Path, frames: int, width: int, height: int) -> Clip:
    return Clip(
        clip_id=path.stem,
        corpus="test",
        speaker=path.stem,
        group=path.stem,
        gender="",
        split="train",
        path=path.name,
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        kept=True,
        start_s=0.0,
        end_s=frames / 25,
        width=width,
        height=height,
        fps=25.0,
        audio_rate_hz=16000,
        channels=1,
    )
