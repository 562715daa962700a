"""What a separator costs: parameters, multiply-accumulates, time, memory, and on which machine.

MACs are half of what torch's `FlopCounterMode` counts: convolutions, matrix products and
attention. Not counted are FFTs (STFT, and a heat step done by FFT), normalisations, activations
and interpolation, which hold few of them but some of the time. Published figures of the Dolphin
family come from `ptflops` and leave out its dense DCT matrices, so compare with care.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from avsep.evaluation.child_process import (
    device_name,
    in_child,
    machine,
    memory_mb,
    synchronise,
    versions,
)
from avsep.evaluation.separate import Separator
from avsep.models.macs import counted_macs
from avsep.schema import (
    ANALYSIS_SIZE,
    LIPS_SIZE,
    NUM_LANDMARKS,
    RATE_HZ,
    SAMPLES_PER_FRAME,
    Cues,
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Measured on one machine, for one mixture at a time.

    Attributes:
        parameters: all of them.
        trainable_parameters: those that gradients reach.
        macs: multiply-accumulates for the whole input; see the module docstring.
        audio_s: length of the input, in seconds.
        latency_s: median time of the warm runs, in seconds.
        best_s: shortest warm run.
        cold_s: first run, which builds caches.
        real_time_factor: median time over length of the input; below 1 is faster than real time.
        peak_memory_mb: of the whole process (CPU) or of what PyTorch held (GPU), in MiB.
        model_memory_mb: of the same process with the model loaded, before the first run.
        runs: number of warm runs.
        threads: of PyTorch.
        device: `cpu` or the name of the GPU.
        machine: processor and its cores.
        versions: of Python and PyTorch.
    """

    parameters: int
    trainable_parameters: int
    macs: int
    audio_s: float
    latency_s: float
    best_s: float
    cold_s: float
    real_time_factor: float
    peak_memory_mb: float
    model_memory_mb: float
    runs: int
    threads: int
    device: str
    machine: str
    versions: str

    def as_values(self) -> dict[str, Any]:
        """For JSON, which knows no NaN."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


def example_input(audio_s: float, device: str = "cpu") -> tuple[torch.Tensor, Cues]:
    """A mixture of noise and a moving face, one item of about `audio_s` seconds.

    Returns:
        mixture (1, L) float32, and cues of one item.
    """
    num_frames = max(1, round(audio_s * RATE_HZ / SAMPLES_PER_FRAME))
    generator = torch.Generator().manual_seed(0)
    mixture = 0.1 * torch.randn(1, num_frames * SAMPLES_PER_FRAME, generator=generator)
    lips = torch.randint(0, 256, (1, num_frames, LIPS_SIZE, LIPS_SIZE), generator=generator)
    points = ANALYSIS_SIZE * torch.rand(1, 1, NUM_LANDMARKS, 3, generator=generator)
    jitter = torch.randn(1, num_frames, NUM_LANDMARKS, 3, generator=generator)
    cues = Cues(
        lips=lips.to(torch.uint8).to(device),
        landmarks=(points + jitter).to(device),
        valid=torch.ones(1, num_frames, dtype=torch.uint8, device=device),
    )
    return mixture.to(device), cues


def count_macs(model: Separator, mixture: torch.Tensor, cues: Cues) -> int:
    """Multiply-accumulates of one estimate; what is counted says the module docstring."""
    return counted_macs(lambda: model.estimate(mixture, cues))


def measure(
    load: Callable[[], torch.nn.Module], *, audio_s: float, runs: int, threads: int, device: str
) -> Cost:
    """Load a model and measure it, in this process.

    Args:
        load: gives the model in eval mode on `device`.
        audio_s: length of the input, in seconds.
        runs: number of warm runs.
        threads: of PyTorch; 0 leaves its default.
        device: `cpu` or `cuda`.
    """
    if threads:
        torch.set_num_threads(threads)
    model = load()
    # Gradients are counted before anything is frozen for inference.
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    separator: Separator = model  # type: ignore[assignment]
    mixture, cues = example_input(audio_s, device)
    before = memory_mb("now", device)
    with torch.inference_mode():
        times = [_timed(separator, mixture, cues, device) for _ in range(runs + 1)]
    peak = memory_mb("peak", device)
    median = statistics.median(times[1:])
    length_s = mixture.shape[-1] / RATE_HZ
    return Cost(
        parameters=sum(size for size, _ in sizes),
        trainable_parameters=sum(size for size, trainable in sizes if trainable),
        # After the timing: the counter's own bookkeeping would raise the peak.
        macs=count_macs(separator, mixture, cues),
        audio_s=length_s,
        latency_s=median,
        best_s=min(times[1:]),
        cold_s=times[0],
        real_time_factor=median / length_s,
        peak_memory_mb=peak,
        model_memory_mb=before,
        runs=runs,
        threads=torch.get_num_threads(),
        device=device_name(device),
        machine=machine(),
        versions=versions(),
    )


def measure_in_child(
    load: Callable[[], torch.nn.Module],
    *,
    audio_s: float,
    runs: int,
    threads: int,
    device: str,
    timeout_s: float,
) -> Cost:
    """`measure` in a fresh process, whose peak memory is the model's alone.

    Args:
        load: must be picklable, e.g. a `functools.partial` of a module's function.
        audio_s: see `measure`.
        runs: see `measure`.
        threads: see `measure`.
        device: see `measure`.
        timeout_s: limit for all of it, in seconds.

    Raises:
        TimeoutError: it took longer; the process is ended.
        BrokenProcessPool: it was killed, e.g. for want of memory.
    """
    job = partial(measure, load, audio_s=audio_s, runs=runs, threads=threads, device=device)
    return in_child(job, timeout_s=timeout_s)


def _timed(model: Separator, mixture: torch.Tensor, cues: Cues, device: str) -> float:
    synchronise(device)
    started = time.perf_counter()
    estimate = model.estimate(mixture, cues)
    synchronise(device)
    elapsed = time.perf_counter() - started
    if not np.isfinite(elapsed) or estimate.shape != mixture.shape:
        raise ValueError(f"the model made {tuple(estimate.shape)} of {tuple(mixture.shape)}.")
    return elapsed
