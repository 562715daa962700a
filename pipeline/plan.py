"""What each stage of the settings at hand takes: work, time, GPU and disk, from measured rates.

Nothing is started, downloaded or written. What is not known is None.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from avsep.models.registry import MODELS, ModelSpec
from avsep.processes import default_workers
from avsep.workspace import Workspace
from pipeline import rates
from pipeline.amounts import Amounts, find_amounts, shard_bytes_per_s
from pipeline.disk import (
    MARGIN,
    example_bytes,
    free_bytes,
    present_bytes,
    stage_bytes,
    training_bytes,
)
from pipeline.measured import bench_rates, item_rate, step_rate
from pipeline.rates import Rate


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one stage takes; None where it is not known.

    Attributes:
        stage: name of the stage.
        model: the model that is trained; empty for other stages.
        items: number of items or steps.
        unit: what is counted: `clips`, `samples`, `steps` or `mixtures`.
        video_s: seconds of video that it works on; None too where that says nothing.
        core_s: core-seconds; None too where a GPU does the work.
        wall_s: seconds on this machine.
        gpu_s: GPU-seconds.
        on_gpu: whether a GPU is used.
        disk_bytes: size of its result.
        rate: where the rate comes from; empty if there is none.
        may_end_early: whether `fit.patience` may end a training before.
    """

    stage: str
    model: str = ""
    items: int | None = None
    unit: str = "clips"
    video_s: float | None = None
    core_s: float | None = None
    wall_s: float | None = None
    gpu_s: float | None = None
    on_gpu: bool = False
    disk_bytes: float | None = None
    rate: str = ""
    may_end_early: bool = False

    @property
    def is_training(self) -> bool:
        """Whether this is a training, which may take days."""
        return self.unit == "steps"


@dataclass(frozen=True, kw_only=True)
class ProjectPlan:
    """The costs of all stages on this machine.

    Attributes:
        costs: in the order of the stages.
        notes: where the amounts come from.
        cores: number of cores that this process may use.
        gpus: number of GPUs that PyTorch sees.
        free_bytes: free space on the disk of the project's data.
        present_bytes: what the project's results take already.
        raw_bytes: size of the raw clips, which `clean` and `extract` read; None if unknown.
        videos: number of videos that are downloaded from YouTube.
    """

    costs: tuple[Cost, ...]
    notes: tuple[str, ...]
    cores: int
    gpus: int
    free_bytes: int
    present_bytes: int
    raw_bytes: float | None = None
    videos: int = 0

    @property
    def needed_bytes(self) -> float:
        """Free space that the rest needs, with a margin; of the stages of known size."""
        return max(0.0, MARGIN * self.disk_bytes - self.present_bytes)

    @property
    def disk_bytes(self) -> float:
        """Disk that the stages of known size take together."""
        return sum(cost.disk_bytes or 0.0 for cost in self.costs)

    @property
    def unsized(self) -> tuple[str, ...]:
        """The stages whose size is not known."""
        return tuple(cost.stage for cost in self.costs if cost.disk_bytes is None)


@dataclass(frozen=True)
class _Machine:
    workspace: Workspace
    cores: int
    gpus: int


def plan_project(config: Mapping[str, Any], workspace: Workspace) -> ProjectPlan:
    """What the stages take on this machine.

    Args:
        config: config of each stage by name.
        workspace: folders of the project.
    """
    here = _Machine(workspace, default_workers(), _count_gpus())
    amounts = find_amounts(config["download"], workspace)
    costs = (
        _download(config["download"], amounts, here),
        _clean(config["clean"], amounts, here),
        _extract(config["extract"], amounts, here),
        _mix(config["mix"], amounts, here),
        _pretrain(config["pretrain"], here),
        *_train(config["train"], here),
        _evaluate(config, here),
        _report(config["evaluate"]),
    )
    return ProjectPlan(
        costs=costs,
        notes=amounts.notes,
        cores=here.cores,
        gpus=here.gpus,
        free_bytes=free_bytes(workspace),
        present_bytes=present_bytes(workspace) + _raw_bytes(config["download"], amounts, here),
        raw_bytes=amounts.raw_bytes or None,
        videos=amounts.videos,
    )


def _count_gpus() -> int:
    if importlib.util.find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _raw_bytes(config: Any, amounts: Amounts, here: _Machine) -> int:
    """Size of the raw clips that are no links to files elsewhere."""
    is_here = here.workspace.raw_table.is_file() and amounts.raw_bytes is not None
    written = config.corpus == "demo" or amounts.archive_bytes > 0
    return int(amounts.raw_bytes or 0) if is_here and written else 0


# --- the stages


def _download(config: Any, amounts: Amounts, here: _Machine) -> Cost:
    video_s = _times(amounts.clips, amounts.clip_s)
    cost = Cost(stage="download", items=amounts.clips, video_s=video_s)
    disk = _bytes("download", config, amounts.clips, archive_bytes=amounts.archive_bytes)
    if config.corpus == "demo":
        core_s = _times(amounts.clips, rates.DEMO_CLIP.value)
        return _pooled(replace(cost, disk_bytes=disk), core_s, rates.DEMO_CLIP, config, here)
    if config.by_youtube:
        waiting = amounts.videos * rates.YOUTUBE_VIDEO.value or None
        return replace(cost, wall_s=waiting, disk_bytes=disk, rate=rates.YOUTUBE_VIDEO.source)
    core_s = _times(amounts.raw_bytes, rates.READ_GB.value / 1e9)
    return _pooled(replace(cost, disk_bytes=disk), core_s, rates.READ_GB, config, here)


def _clean(config: Any, amounts: Amounts, here: _Machine) -> Cost:
    video_s = _times(amounts.clips, amounts.clip_s)
    rate = item_rate(here.workspace, "clean", amounts.clip_s) or rates.CLEAN
    cost = Cost(
        stage="clean",
        items=amounts.clips,
        video_s=video_s,
        disk_bytes=_bytes("clean", config, amounts.clips),
    )
    return _pooled(cost, _times(video_s, rate.value), rate, config, here)


def _extract(config: Any, amounts: Amounts, here: _Machine) -> Cost:
    clips = None if amounts.clips is None else round(amounts.kept_share * amounts.clips)
    video_s = _times(clips, amounts.kept_s)
    on_gpu = str(config.backend_options.get("device", "")).startswith("cuda")
    rate = item_rate(here.workspace, "extract", amounts.kept_s)
    mediapipe = config.backend == "mediapipe"
    benched = bench_rates(here.workspace, config.backend_options) if mediapipe else None
    if rate is None:
        rate = benched.core if benched else _published_extract(config)
    measured = shard_bytes_per_s(here.workspace, config.storage)
    samples_s = _times(_times(clips, amounts.samples_per_clip), amounts.sample_s)
    disk = _times(samples_s, measured) if measured else None
    cost = Cost(
        stage="extract",
        items=clips,
        video_s=video_s,
        on_gpu=on_gpu,
        disk_bytes=disk or _bytes("extract", config, clips, video_s=video_s),
    )
    if rate is None:
        return cost
    cost = _pooled(cost, _times(video_s, rate.value), rate, config, here)
    if not on_gpu or benched is None:
        return cost
    gpu_s = _times(video_s, benched.gpu_s)
    return replace(cost, gpu_s=gpu_s, wall_s=_longest(cost, gpu_s, config, here))


def _published_extract(config: Any) -> Rate | None:
    """The published rate of a backend on a CPU; of mediapipe, that of LiteRT."""
    on_torch = config.backend_options.get("engine") == "torch"
    return None if on_torch else rates.EXTRACT.get(config.backend)


def _longest(cost: Cost, gpu_s: float | None, config: Any, here: _Machine) -> float | None:
    """Wall time where processes decode while GPUs run the networks: that of the slower side."""
    if gpu_s is None or cost.core_s is None:
        return None
    return max(gpu_s / max(1, here.gpus), cost.core_s / _workers(config, here))


def _mix(config: Any, amounts: Amounts, here: _Machine) -> Cost:
    clips = _times(amounts.clips, amounts.kept_share * amounts.samples_per_clip)
    samples = None if clips is None else round(clips)
    cost = Cost(
        stage="mix",
        items=samples,
        unit="samples",
        video_s=_times(samples, amounts.sample_s),
        disk_bytes=_bytes("mix", config, samples),
    )
    return _pooled(cost, _times(samples, rates.MIX.value), rates.MIX, config, here)


def _pretrain(config: Any, here: _Machine) -> Cost:
    section = config.lipcoder
    return _training("pretrain", "lipcoder", section, section.size, config, here)


def _train(config: Any, here: _Machine) -> Iterator[Cost]:
    for name in MODELS:
        chosen = replace(config, model=name)
        size = chosen.network_size
        cost = _training("train", name, chosen.of_model, size, chosen, here)
        yield replace(cost, model=name)


def _training(stage: str, name: str, section: Any, size: str, config: Any, here: _Machine) -> Cost:
    fit, devices = section.fit, config.devices
    on_gpu = config.device == "cuda" or (config.device == "auto" and here.gpus > 0)
    cost = Cost(
        stage=stage,
        items=fit.steps,
        unit="steps",
        on_gpu=on_gpu,
        disk_bytes=training_bytes(name, section, size),
        may_end_early=fit.patience > 0,
    )
    per_process = config.threads or (here.cores if devices == 1 else 1)
    cores = min(here.cores, devices * per_process)
    device = "cuda" if on_gpu else "cpu"
    rate = step_rate(here.workspace, stage, name, section, device=device, cores=cores)
    if rate is None and not on_gpu:
        rate = rates.training_rate(name, size, section.overrides, config.precision)
    if rate is None:
        return cost
    total_s = fit.steps * fit.items_per_step(devices) * fit.seconds * rate.value
    if on_gpu:
        return replace(cost, gpu_s=total_s, wall_s=total_s / devices, rate=rate.source)
    return replace(cost, core_s=total_s, wall_s=total_s / cores, rate=rate.source)


def _evaluate(config: Mapping[str, Any], here: _Machine) -> Cost:
    """All models together."""
    settings, train = config["evaluate"], config["train"]
    listed = config["mix"].num_mixtures(settings.split)
    mixtures = min(listed, settings.max_mixtures or listed)
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and here.gpus > 0)
    sizes = [replace(train, model=name).network_size for name in MODELS]
    per_mixture = [
        _per_mixture(spec, size, config) for spec, size in zip(MODELS.values(), sizes, strict=True)
    ]
    cost = Cost(
        stage="evaluate",
        items=mixtures * len(MODELS),
        unit="mixtures",
        on_gpu=on_gpu,
        disk_bytes=sum(stage_bytes("evaluate", settings, items=mixtures) or 0.0 for _ in MODELS),
    )
    if getattr(config["mix"], f"{settings.split}_list"):  # as long as the file that it names
        return replace(cost, items=None, disk_bytes=None)
    known = [core_s for core_s in per_mixture if core_s is not None]
    if on_gpu or len(known) < len(per_mixture):
        return cost
    core_s = mixtures * sum(known)
    source = rates.EVALUATE_SOURCE + (rates.SEPARATE_SOURCE if "full" in sizes else "")
    return replace(cost, core_s=core_s, wall_s=core_s / here.cores, rate=source)


def _per_mixture(spec: ModelSpec, size: str, config: Mapping[str, Any]) -> float | None:
    """Core-seconds per mixture: those of a demo-size model, and those of a full-size network.

    None for a model that was never measured.
    """
    if spec.name not in rates.EVALUATE:
        return None
    core_s = rates.EVALUATE[spec.name]
    if size == "full":
        voices = 3 if config["mix"].protocol == "strict-3mix" else 2
        heard_s = voices * len(config["evaluate"].conditions) * config["mix"].test_seconds
        core_s += heard_s * rates.SEPARATE_FULL[spec.name]
    return core_s


def _report(settings: Any) -> Cost:
    size = len(MODELS) * 1.4 * example_bytes(settings)  # text that holds the same sounds
    seconds = rates.REPORT_S.value
    return Cost(
        stage="report",
        items=len(MODELS),
        unit="models",
        core_s=seconds,
        wall_s=seconds,
        disk_bytes=size,
        rate=rates.REPORT_S.source,
    )


# --- arithmetic with what may be unknown


def _times(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other


def _bytes(stage: str, config: Any, items: int | None, **more: Any) -> float | None:
    return None if items is None else stage_bytes(stage, config, items=items, **more)


def _pooled(cost: Cost, core_s: float | None, rate: Rate, config: Any, here: _Machine) -> Cost:
    """The cost of a stage that works in a pool of processes."""
    wall_s = None if core_s is None or cost.on_gpu else core_s / _workers(config, here)
    return replace(cost, core_s=core_s, wall_s=wall_s, rate=rate.source)


def _workers(config: Any, here: _Machine) -> int:
    return max(1, min(here.cores, int(config.num_workers)))


def total(values: Iterable[float | None]) -> tuple[float, bool]:
    """The sum of what is known, and whether everything is."""
    listed = list(values)
    return sum(value for value in listed if value is not None), None not in listed
