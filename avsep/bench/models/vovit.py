"""VoViT's latency row by row, beside the table that its authors published.

All figures are milliseconds for 10 s of audio: the time of a batch, divided by the audio in it. The
published table (README of JuanFMontesinos/VoViT: RTX 3090, batch 100, mean of 10 runs after 2
warm-ups) neither says what its preprocessing holds nor whether TF32 was on, which PyTorch of that
time had on by default.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from avsep.bench.timing import interleaved, time_once
from avsep.evaluation.machine import device_name, machine, memory_mb, versions
from avsep.evaluation.macs import counted_macs
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.registration import register
from avsep.processes import in_child
from avsep.schema import FPS

Format = Literal["fp32", "fp32 tf32", "bf16 convs", "bf16", "fp16"]

CLIP_S = 2.0
TABLE_S = 10.0  # the audio that a figure of the table is for
GPU_BATCH, CPU_BATCH = 100, 4
CHILD_LIMIT_S = 3600.0
VARIANTS: tuple[Literal["speech-s1", "speech"], ...] = ("speech-s1", "speech")
ROWS = {
    "registration_ms": "landmark registration",
    "graph_ms": "graph network",
    "model_ms": "whole model",
    "total_ms": "registration and model in one go",
}
COLUMNS = {
    "variant": "model",
    "precision": "precision",
    **ROWS,
    "cold_ms": "cold first run",
    "times_faster": "model, times faster than fp32",
    "times_faster_cpu": "the same in CPU time",
    "difference": "largest difference of the waveform",
    "peak_memory_mb": "peak memory, MiB",
}
# Published: preprocessing, graph network, whole model, preprocessing and inference.
PUBLISHED = [
    {"variant": "speech-s1", "precision": "fp32", "figures": (17.95, 4.50, 52.21, 82.18)},
    {"variant": "speech", "precision": "fp32", "figures": (17.95, 4.55, 57.45, 93.31)},
    {"variant": "speech-s1", "precision": "fp16", "figures": (10.94, 2.88, 30.47, 52.43)},
    {"variant": "speech", "precision": "fp16", "figures": (10.94, 2.86, 34.18, 46.14)},
]


@dataclass(frozen=True, kw_only=True)
class VoViTBench:
    """What to measure.

    Attributes:
        device: `cpu` or `cuda`.
        batch: chunks of 2 s at once; 0 takes 100 on a GPU and 4 on a CPU.
        runs: timed runs.
        warm_ups: runs before them.
        threads: of PyTorch; 0 leaves its default.
        backend: measure the extraction of landmarks by this backend too; empty for none.
    """

    device: str = "cpu"
    batch: int = 0
    runs: int = 10
    warm_ups: int = 2
    threads: int = 0
    backend: str = ""

    def __post_init__(self) -> None:
        if self.runs < 1 or min(self.batch, self.warm_ups, self.threads) < 0:
            raise ValueError("runs must be at least 1; batch, warm-ups and threads at least 0.")
        if self.device != "cpu" and not self.device.startswith("cuda"):
            raise ValueError(f"device is {self.device!r}; it may be cpu or cuda.")

    @property
    def chunks(self) -> int:
        """Chunks at once."""
        return self.batch or (CPU_BATCH if self.device == "cpu" else GPU_BATCH)

    @property
    def formats(self) -> tuple[Format, ...]:
        """Precisions that make sense on the device."""
        if self.device == "cpu":
            return ("fp32", "bf16 convs")
        return ("fp32", "fp32 tf32", "fp16", "bf16", "bf16 convs")


def bench_vovit(
    settings: VoViTBench, *, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure both variants in all formats of the device; JSON-able.

    Args:
        settings: what.
        say: gets a line of progress now and then.
    """
    rows = []
    sizes: dict[str, Any] = {}
    for variant in VARIANTS:
        say(f"{variant}: {', '.join(settings.formats)}")
        timed = _child(_table_rows, settings, variant)
        for precision in settings.formats:
            alone = _child(_alone, settings, variant, precision)
            sizes[variant] = {key: alone.pop(key) for key in ("parameters", "macs_g")}
            rows.append({"variant": variant, "precision": precision, **timed[precision], **alone})
    result: dict[str, Any] = {
        "model": "vovit",
        "machine": machine(),
        "device": device_name(settings.device),
        "versions": versions(),
        "settings": asdict(settings),
        "chunks": settings.chunks,
        "sizes": sizes,
        "rows": rows,
        "published": PUBLISHED,
    }
    if settings.backend:
        say(f"landmarks by {settings.backend}")
        result["extraction_ms"] = _extraction_ms(settings.backend)
    return result


def _extraction_ms(backend: str) -> float:
    """Detection and landmarks of 10 s of video on one core, without decoding, in ms."""
    from avsep.bench.extract import bench_extract
    from avsep.extraction.config import ExtractionConfig

    figures = bench_extract(repeats=2, settings=ExtractionConfig(backend=backend))
    share = float(figures["detect_share"]) + float(figures["landmark_share"])
    return 1000 * TABLE_S * FPS * share / float(figures["frames_per_s"])


def _child(work: Callable[..., Any], settings: VoViTBench, *arguments: Any) -> Any:
    return in_child(partial(work, settings, *arguments), timeout_s=CHILD_LIMIT_S)


# --- in a child


@dataclass(frozen=True, eq=False)
class _Bench:
    """A model and its inputs on the device."""

    model: VoViT
    mixture: Tensor
    landmarks: Tensor
    points: Tensor


def _prepared(settings: VoViTBench, variant: Literal["speech-s1", "speech"]) -> _Bench:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    config = VoViTConfig.full(variant)
    model = VoViT(config).eval()
    face = 112 + torch.tensor([40.0, 35.0, 25.0]) * torch.randn(68, 3)
    model.set_mean_face(face).to(settings.device)
    chunks, frames = settings.chunks, config.spectrum.clip_video_frames
    mixture = 0.1 * torch.randn(chunks, config.spectrum.clip_samples)
    landmarks = (face + torch.randn(chunks, frames, 68, 3)).to(settings.device)
    points = register(landmarks, model.mean_face)[..., :2]
    # Peak-normalised, as the network takes it.
    mixture = (mixture / mixture.abs().amax(1, keepdim=True)).to(settings.device)
    return _Bench(model, mixture, landmarks, points)


def _set_format(bench: _Bench, precision: Format) -> None:
    """Precision of the networks; spectra and registration stay in float32."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "fp32 tf32"
    torch.backends.cudnn.allow_tf32 = precision == "fp32 tf32"
    whole, encoder = {
        "fp32": (torch.float32, None),
        "fp32 tf32": (torch.float32, None),
        "bf16 convs": (torch.float32, torch.bfloat16),
        "bf16": (torch.bfloat16, None),
        "fp16": (torch.float16, None),
    }[precision]
    bench.model.use_precision(whole, encoder)


def _half(precision: Format, device: str) -> AbstractContextManager[Any]:
    """Autocast for the graph network when it is run alone."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=dtype)


def _works(bench: _Bench, precision: Format, device: str) -> dict[str, Callable[[], Tensor]]:
    model = bench.model
    num_frames = model.config.spectrum.num_frames

    def graph() -> Tensor:
        with _half(precision, device):
            return model.network.stage1.graph(bench.points, num_frames)

    def network() -> Tensor:
        _set_format(bench, precision)
        return model.network(bench.mixture, bench.points).waveform

    def total() -> Tensor:
        _set_format(bench, precision)
        return model(bench.mixture, bench.landmarks)

    return {
        "registration_ms": lambda: register(bench.landmarks, model.mean_face),
        "graph_ms": graph,
        "model_ms": network,
        "total_ms": total,
    }


def _table_rows(
    settings: VoViTBench, variant: Literal["speech-s1", "speech"]
) -> dict[str, dict[str, float]]:
    """All rows in all formats, in turns: format to figures."""
    bench = _prepared(settings, variant)
    works = {
        (precision, row): work
        for precision in settings.formats
        for row, work in _works(bench, precision, settings.device).items()
    }
    with torch.inference_mode():
        timings = interleaved(
            works, runs=settings.runs, warm_ups=settings.warm_ups, device=settings.device
        )
        waveforms = {p: works[p, "model_ms"]() for p in settings.formats}
    to_ms = 1000 * TABLE_S / (settings.chunks * CLIP_S)
    fp32 = timings["fp32", "model_ms"]
    result: dict[str, dict[str, float]] = {}
    for precision in settings.formats:
        model = timings[precision, "model_ms"]
        figures = {row: timings[precision, row].median_s * to_ms for row in ROWS}
        figures["times_faster"] = fp32.median_s / model.median_s
        figures["times_faster_cpu"] = fp32.cpu_s / model.cpu_s
        figures["difference"] = float((waveforms[precision] - waveforms["fp32"]).abs().max())
        result[precision] = figures
    return result


def _alone(
    settings: VoViTBench, variant: Literal["speech-s1", "speech"], precision: Format
) -> dict[str, float]:
    """Cold run, peak memory, size and MACs of one format in a process of its own."""
    bench = _prepared(settings, variant)
    total = _works(bench, precision, settings.device)["total_ms"]
    with torch.inference_mode():
        cold_s, _ = time_once(total, settings.device)
        total()
    peak = memory_mb("peak", settings.device)
    macs = counted_macs(lambda: bench.model.network(bench.mixture[:1], bench.points[:1]))
    return {
        "cold_ms": cold_s * 1000 * TABLE_S / (settings.chunks * CLIP_S),
        "peak_memory_mb": peak,
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "macs_g": macs / 1e9,
    }
