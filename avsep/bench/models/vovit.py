"""Cost of VoViT, in the rows of the table that its authors published.

All times are milliseconds per 10 s of audio: the time of a batch divided by the audio in it. The
published table (README of JuanFMontesinos/VoViT: RTX 3090, batch 100, mean of 10 runs after 2
warm-ups) says neither what its preprocessing includes nor whether TF32 was on, which was PyTorch's
default at that time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from avsep.bench.models.settings import ModelBench, autocast
from avsep.bench.timing import time_once
from avsep.evaluation.macs import counted_macs
from avsep.machine import memory_mb
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.registration import register
from avsep.schema import FPS
from avsep.validation import check_at_least

Format = Literal["fp32", "fp32 tf32", "bf16 convs", "bf16", "fp16"]

CLIP_S = 2.0
TABLE_S = 10.0  # length of audio for the times in the table
GPU_BATCH, CPU_BATCH = 100, 4
SpeechVariant = Literal["speech-s1", "speech"]
VARIANTS: tuple[SpeechVariant, ...] = ("speech-s1", "speech")
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
class VoViTBench(ModelBench):
    """What to measure of VoViT.

    Attributes:
        batch: number of chunks of 2 s per batch; 0 for 100 on a GPU and 4 on a CPU.
        backend: landmark backend whose extraction is measured too; empty for none.
    """

    runs: int = 10
    warm_ups: int = 2
    batch: int = 0
    backend: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "batch")

    @property
    def chunks(self) -> int:
        """Chunks per batch."""
        return self.batch or (CPU_BATCH if self.device == "cpu" else GPU_BATCH)

    @property
    def formats(self) -> tuple[Format, ...]:
        """Precisions that make sense on the device."""
        if self.device == "cpu":
            return ("fp32", "bf16 convs")
        return ("fp32", "fp32 tf32", "fp16", "bf16", "bf16 convs")


def bench_vovit(
    settings: VoViTBench, *, announce: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure both variants in all formats of the device; the result can be written as JSON.

    Args:
        settings: what to measure.
        announce: called with a line per variant.
    """
    rows = []
    sizes: dict[str, Any] = {}
    for variant in VARIANTS:
        announce(f"{variant}: {', '.join(settings.formats)}")
        timed = settings.in_child(_time_rows, variant)
        for precision in settings.formats:
            alone = settings.in_child(_measure_alone, variant, precision)
            sizes[variant] = {key: alone.pop(key) for key in ("parameters", "macs_g")}
            rows.append({"variant": variant, "precision": precision, **timed[precision], **alone})
    result: dict[str, Any] = {
        "model": "vovit",
        **settings.environment(),
        "settings": asdict(settings),
        "chunks": settings.chunks,
        "sizes": sizes,
        "rows": rows,
        "published": PUBLISHED,
    }
    if settings.backend:
        announce(f"landmarks by {settings.backend}")
        result["extraction_ms"] = _extraction_ms(settings.backend)
    return result


def _extraction_ms(backend: str) -> float:
    """Detection and landmarks of 10 s of video on one core, without decoding, in ms."""
    from avsep.bench.extract import bench_extract
    from avsep.extraction.config import ExtractionConfig

    figures = bench_extract(repeats=2, settings=ExtractionConfig(backend=backend))
    share = float(figures["detect_share"]) + float(figures["landmark_share"])
    return 1000 * TABLE_S * FPS * share / float(figures["frames_per_s"])


# --- in a child process


@dataclass(frozen=True, eq=False)
class _Inputs:
    """A model and its inputs on the device."""

    model: VoViT
    mixture: Tensor
    landmarks: Tensor
    points: Tensor


def _prepare(settings: VoViTBench, variant: SpeechVariant) -> _Inputs:
    settings.prepare()
    config = VoViTConfig.full(variant)
    model = VoViT(config).eval()
    face = 112 + torch.tensor([40.0, 35.0, 25.0]) * torch.randn(68, 3)
    model.set_mean_face(face).to(settings.device)
    chunks, frames = settings.chunks, config.spectrum.clip_video_frames
    mixture = 0.1 * torch.randn(chunks, config.spectrum.clip_samples)
    landmarks = (face + torch.randn(chunks, frames, 68, 3)).to(settings.device)
    points = register(landmarks, model.mean_face)[..., :2]
    # The network expects peak-normalised mixtures.
    mixture = (mixture / mixture.abs().amax(1, keepdim=True)).to(settings.device)
    return _Inputs(model, mixture, landmarks, points)


def _set_format(inputs: _Inputs, precision: Format) -> None:
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
    inputs.model.use_precision(whole, encoder)


def _tasks(inputs: _Inputs, precision: Format, device: str) -> dict[str, Callable[[], Tensor]]:
    model = inputs.model
    num_frames = model.config.spectrum.num_frames

    def graph() -> Tensor:
        with autocast(precision, device):
            return model.network.stage1.graph(inputs.points, num_frames)

    def network() -> Tensor:
        _set_format(inputs, precision)
        return model.network(inputs.mixture, inputs.points).waveform

    def total() -> Tensor:
        _set_format(inputs, precision)
        return model(inputs.mixture, inputs.landmarks)

    return {
        "registration_ms": lambda: register(inputs.landmarks, model.mean_face),
        "graph_ms": graph,
        "model_ms": network,
        "total_ms": total,
    }


def _time_rows(settings: VoViTBench, variant: SpeechVariant) -> dict[str, dict[str, float]]:
    """All rows in all formats, timed in turns; figures per format."""
    inputs = _prepare(settings, variant)
    tasks = {
        (precision, row): task
        for precision in settings.formats
        for row, task in _tasks(inputs, precision, settings.device).items()
    }
    with torch.inference_mode():
        timings = settings.time(tasks)
        waveforms = {p: tasks[p, "model_ms"]() for p in settings.formats}
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


def _measure_alone(
    settings: VoViTBench, variant: SpeechVariant, precision: Format
) -> dict[str, float]:
    """Cold run, peak memory, size and MACs of one format, in a fresh process."""
    inputs = _prepare(settings, variant)
    total = _tasks(inputs, precision, settings.device)["total_ms"]
    with torch.inference_mode():
        cold_s, _ = time_once(total, settings.device)
        total()
    peak = memory_mb("peak", settings.device)
    macs = counted_macs(lambda: inputs.model.network(inputs.mixture[:1], inputs.points[:1]))
    return {
        "cold_ms": cold_s * 1000 * TABLE_S / (settings.chunks * CLIP_S),
        "peak_memory_mb": peak,
        "parameters": sum(p.numel() for p in inputs.model.parameters()),
        "macs_g": macs / 1e9,
    }
