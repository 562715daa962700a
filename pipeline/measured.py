"""What the stages of this project have measured: it replaces the rates of `pipeline.rates`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avsep.bench.extract import figures_path
from avsep.errors import CheckError
from avsep.files import read_json
from avsep.schema import FPS
from avsep.settings import as_values
from avsep.training.config import STEP_TIMES
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.training_run import SETTINGS
from pipeline.rates import Rate

MIN_ITEMS = 10  # fewer say little


def item_rate(workspace: Workspace, stage: str, mean_clip_s: float | None) -> Rate | None:
    """Core-seconds per second of video of a stage, from the ledger; None if it has not run here.

    Args:
        workspace: folders of the project.
        stage: a stage that works on a clip in one process.
        mean_clip_s: mean length of the clips that it worked on.
    """
    if not workspace.ledger.is_file() or not mean_clip_s:
        return None
    try:
        count, seconds = Ledger.existing(workspace.ledger).time_spent(stage)
    except CheckError:
        return None
    if count < MIN_ITEMS:
        return None
    mean = seconds / count
    return Rate(mean / mean_clip_s, f"measured here: {mean:.3g} s per clip, mean of {count:,}")


@dataclass(frozen=True)
class BenchRates:
    """What `avsep bench extract` has measured on this machine.

    Attributes:
        core: core-seconds per second of video.
        gpu_s: seconds of the GPU per second of video, at most; 0 without a GPU.
    """

    core: Rate
    gpu_s: float


def bench_rates(workspace: Workspace, options: Mapping[str, Any]) -> BenchRates | None:
    """The figures of a bench in this project with the same engine; None if there are none.

    Args:
        workspace: folders of the project.
        options: resolved options of the landmark backend.
    """
    wanted = as_values(dict(options))
    try:
        figures = read_json(figures_path(workspace, str(options.get("engine", "litert"))))
        if figures["options"] != wanted:
            return None
        per_core = float(figures["frames_per_cpu_s"])
        shares = float(figures["detect_share"]) + float(figures["landmark_share"])
        source = (
            f"avsep bench extract here: {per_core:.3g} frames per second and core at"
            f" {figures['width']}x{figures['height']}"
        )
        on_gpu = str(options.get("device", "")).startswith("cuda")
        gpu_s = FPS * shares / float(figures["frames_per_s"]) if on_gpu else 0.0
        return BenchRates(Rate(FPS / per_core, source), gpu_s)
    except (CheckError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def step_rate(
    workspace: Workspace, stage: str, name: str, section: Any, *, device: str, cores: int
) -> Rate | None:
    """What one second of a training item takes here, from the last run of the same network.

    Args:
        workspace: folders of the project.
        stage: `pretrain` or `train`.
        name: name of the run.
        section: settings of the model.
        device: `cpu` or `cuda`; a run on another device does not count.
        cores: number of cores that the training uses.

    Returns:
        Core-seconds on a CPU, seconds of one GPU on a GPU; None if no such run was timed here.
    """
    folder = workspace.work(stage) / name
    try:
        times = read_json(folder / STEP_TIMES)
        ran = _section(read_json(folder / SETTINGS)["config"], name)
        same = all(ran[key] == as_values(section)[key] for key in ("size", "overrides"))
        if not same or times["device"] != device:
            return None
        step_s, steps = float(times["seconds_per_step"]), int(times["steps"])
        used = int(times["devices"]) if device == "cuda" else max(cores, int(times["devices"]))
        value = step_s * used / (float(times["item_seconds"]) * int(times["devices"]))
    except (CheckError, KeyError, TypeError, ValueError, ZeroDivisionError, OSError):
        return None
    return Rate(value, f"measured here: {step_s:.3g} s per step, mean of {steps:,}")


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = config[name.replace("-", "_")]
    return found
