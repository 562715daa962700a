"""What a model costs: parameters, multiply-accumulates (MACs), time and memory on one machine.

MACs are counted as `macs` describes: without FFTs (the STFT, and heat diffusion computed by FFT),
which hold few MACs but some of the time. The published figures of the Dolphin family come from
`ptflops` and leave out its dense DCT matrices, so they compare only roughly.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from avsep.errors import ItemError, Reason
from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.macs import counted_macs
from avsep.evaluation.separate import SeparationModel
from avsep.machine import device_name, machine, memory_mb, synchronise, versions
from avsep.processes import in_child
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
    """The cost of one mixture at a time on one machine.

    Attributes:
        parameters: number of parameters.
        trainable_parameters: number of parameters with a gradient.
        macs: multiply-accumulates for the whole input; see the module docstring.
        audio_s: length of the input, in seconds.
        latency_s: median time of the warm runs, in seconds.
        best_s: time of the fastest warm run, in seconds.
        cold_s: time of the first run, which fills caches, in seconds.
        real_time_factor: latency over the length of the input; below 1 is faster than real time.
        peak_memory_mb: peak memory of the whole process (CPU) or of PyTorch (GPU), in MiB.
        model_memory_mb: the same memory with the model loaded, before the first run, in MiB.
        runs: number of warm runs.
        threads: number of PyTorch's threads.
        device: `cpu` or the name of the GPU.
        machine: the processor and its number of cores.
        versions: versions of Python and PyTorch.
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
        """The cost as a JSON object: None in place of NaN."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


def example_input(audio_s: float, device: str = "cpu") -> tuple[torch.Tensor, Cues]:
    """A mixture of noise and a moving face, about `audio_s` seconds long.

    Returns:
        The mixture, (1, L) float32, and the cues of one item.
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


def measure(
    load: Callable[[], torch.nn.Module], *, audio_s: float, runs: int, threads: int, device: str
) -> Cost:
    """Load a model and measure it, in this process.

    Args:
        load: loads the model in eval mode on `device`.
        audio_s: length of the input, in seconds.
        runs: number of warm runs.
        threads: number of PyTorch's threads; 0 leaves its default.
        device: `cpu` or `cuda`.
    """
    if threads:
        torch.set_num_threads(threads)
    model = load()
    # Before anything is frozen for inference.
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    separator: SeparationModel = model  # type: ignore[assignment]
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
        macs=counted_macs(lambda: separator.estimate(mixture, cues)),
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
    load: Callable[[], torch.nn.Module], config: EvaluateConfig, device: str
) -> Cost:
    """Run `measure` in a fresh process, whose peak memory is the model's alone.

    Args:
        load: loads the model; must be picklable, e.g. a `functools.partial` of a module's
            function.
        config: gives the length of the input, the number of runs and threads, and the time limit.
        device: `cpu` or `cuda`.

    Raises:
        ItemError: the measurement took longer than the limit, or its process was killed.
    """
    job = partial(
        measure,
        load,
        audio_s=config.cost_audio_s,
        runs=config.cost_runs,
        threads=config.threads,
        device=device,
    )
    try:
        return in_child(job, timeout_s=config.cost_timeout_s)
    except TimeoutError as error:
        message = f"took more than {config.cost_timeout_s:g} s"
        raise ItemError(Reason.TIMED_OUT, message) from error
    except BrokenProcessPool as error:
        message = "its process was killed, perhaps because memory ran out"
        raise ItemError(Reason.WORKER_DIED, message) from error


def _timed(model: SeparationModel, mixture: torch.Tensor, cues: Cues, device: str) -> float:
    """Wall time of one estimate, in seconds."""
    synchronise(device)
    started = time.perf_counter()
    estimate = model.estimate(mixture, cues)
    synchronise(device)
    elapsed = time.perf_counter() - started
    if estimate.shape != mixture.shape:
        raise ValueError(
            f"the model turned a mixture of shape {tuple(mixture.shape)} into an estimate of shape"
            f" {tuple(estimate.shape)}; both must be equal."
        )
    return elapsed
