"""Measure how many frames per second one core extracts, and how long each step takes."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from avsep.extraction.clip import encoded_samples, loaded_backend, num_frames_of
from avsep.extraction.config import ExtractionConfig
from avsep.files import write_json
from avsep.schema import Clip
from avsep.settings import as_values
from avsep.workspace import Workspace

STEPS = ("decode", "detect", "landmark", "track", "warp", "encode")
DEMO_SPEAKER, DEMO_CLIP, DEMO_SEED = 0, 0, 1


def bench_extract(
    video: Path | None = None,
    *,
    repeats: int = 3,
    engine: str = "litert",
    settings: ExtractionConfig | None = None,
) -> dict[str, Any]:
    """Extract a video several times in this process; the fastest run counts.

    Args:
        video: the video; if None, a clip of the demo corpus is rendered.
        repeats: number of timed runs, after one that loads models and fills caches.
        engine: what runs the landmark networks, see `EngineConfig`.
        settings: settings of the extraction, instead of the defaults with that engine.

    Returns:
        `engine`, `options` (of the backend), `video`, `width`, `height`, `frames`, `faces`;
        `frames_per_cpu_s` (frames per second of
        processor time, which other work on the machine does not affect); `frames_per_s` (frames
        per second of wall time); and the shares of the wall time, which add up to 1:
        `<step>_share` for decode, detect, landmark, track, warp and encode, and `other_share`.

    Raises:
        ItemError: the video cannot be decoded, or shows no face.
        UsageError: the engine is unknown.
        ValueError: `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; it must be at least 1.")
    settings = settings or ExtractionConfig(backend_options={"engine": engine})
    if video is not None:
        return _measure(video, repeats, settings)
    from avsep.corpora.demo.corpus import DemoClip, write_clip

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.mp4"
        write_clip(DemoClip(speaker=DEMO_SPEAKER, number=DEMO_CLIP), path, seed=DEMO_SEED)
        return _measure(path, repeats, settings)


def figures_path(workspace: Workspace, engine: str) -> Path:
    """Where `keep_figures` writes what an engine does in a project."""
    return workspace.work("bench") / f"extract-{engine}.json"


def keep_figures(workspace: Workspace, figures: dict[str, Any]) -> Path:
    """Keep figures of this machine for `avsep plan`; returns their path."""
    path = figures_path(workspace, figures["engine"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, figures)
    return path


def _measure(path: Path, repeats: int, settings: ExtractionConfig) -> dict[str, Any]:
    from avsep.faces.timing import StepTimer

    clip = whole_file(path)
    loaded_backend(settings)
    faces = len(encoded_samples(path, clip, settings))  # fills caches, compiles kernels
    best_wall, best_cpu, steps = float("inf"), float("inf"), Counter[str]()
    for _ in range(repeats):
        timer = StepTimer()
        wall, cpu = time.perf_counter(), time.process_time()
        encoded_samples(path, clip, settings, timer)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        best_cpu = min(best_cpu, cpu)
        if wall < best_wall:
            best_wall, steps = wall, Counter(timer.seconds)
    frames = num_frames_of(clip)
    figures: dict[str, Any] = {
        "engine": settings.backend_options.get("engine", "litert"),
        "options": as_values(settings.backend_options),
        "video": path.name,
        "width": clip.width,
        "height": clip.height,
        "frames": frames,
        "faces": faces,
        "frames_per_cpu_s": frames / best_cpu,
        "frames_per_s": frames / best_wall,
    }
    figures |= {f"{step}_share": steps[step] / best_wall for step in STEPS}
    figures["other_share"] = 1 - sum(steps[step] for step in STEPS) / best_wall
    return figures


def whole_file(path: Path) -> Clip:
    """The clip record of a file outside any corpus; it spans what both streams cover."""
    from avsep.media.probe import probe

    info = probe(path)
    return Clip(
        clip_id="bench",
        corpus="bench",
        speaker="bench",
        group="bench",
        gender="",
        split="test",
        path=path.name,
        sha256="",
        size_bytes=path.stat().st_size,
        kept=True,
        start_s=info.start_s,
        end_s=info.end_s,
        width=info.width,
        height=info.height,
        fps=info.fps,
        audio_rate_hz=info.audio_rate_hz,
        channels=info.channels,
    )
