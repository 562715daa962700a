"""What work costs: measured rates with their source, and how much disk the results take.

The rates below were measured on machine A of docs/benchmarks.md, two cores and faces of 224 pixels.
Where a stage has run in a project, `pipeline.measured` has the project's own. What nobody has
measured is None, which means unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BENCHMARKS = "docs/benchmarks.md"


@dataclass(frozen=True)
class Rate:
    """A measured rate.

    Attributes:
        value: the rate.
        source: where it was measured, a few words for a person.
    """

    value: float
    source: str


# --- time, in core-seconds

DEMO_CLIP = Rate(2 * 121 / 288, f"{BENCHMARKS}, the demo: 288 clips are rendered in 121 s")
"""Core-seconds per rendered clip."""

READ_GB = Rate(1 / 0.6, "docs/data.md: archives are hashed at 0.6 GB/s")
"""Core-seconds to read and hash a gigabyte of video."""

YOUTUBE_VIDEO = Rate(12.0, "docs/data.md: YouTube allows a guest 300 videos per hour")
"""Seconds of waiting per downloaded video."""

CLEAN = Rate(2 * 7 / 864, f"{BENCHMARKS}, the demo: 14.4 minutes of video in 7 s")
"""Core-seconds per second of video."""

EXTRACT = {
    "mediapipe": Rate(25 / 105, f"{BENCHMARKS}: 105 frames per second and core at 224x224"),
    "imported": Rate(
        87 / 2442, "docs/scale.md: 87 core-hours for VoxCeleb2, estimated from measured parts"
    ),
}
"""Core-seconds per second of video, by backend. With face_alignment the GPU is not measured."""

MIX = Rate(3 / 288, f"{BENCHMARKS}, the demo: 288 samples in 3 s")
"""Core-seconds per sample."""

EVALUATE = {"dolphin": 2 * 48 / 60, "vovit-s1": 2 * 32 / 60, "vovit": 2 * 40 / 60}
"""Core-seconds per mixture with a demo-size model, the metrics included."""

EVALUATE_SOURCE = f"{BENCHMARKS}, the demo: 60 mixtures in 48, 32 and 40 s"

SEPARATE_FULL = {"dolphin": 0.79, "vovit-s1": 0.72, "vovit": 0.76}
"""Core-seconds that a full-size model takes per second of one voice."""

SEPARATE_SOURCE = ", and what the full-size models take for 2 s"

REPORT_S = Rate(3.0, f"{BENCHMARKS}, the demo")


@dataclass(frozen=True)
class Training:
    """A training whose step was timed on the CPU.

    Attributes:
        model: name of the model, or `lipcoder`.
        size: `demo` or `full`.
        overrides: changes to the network's config.
        rate: core-seconds per second of training item, validations included.
        precision: number format, where it matters; empty for what `auto` takes.
    """

    model: str
    size: str
    overrides: Mapping[str, Any]
    rate: Rate
    precision: str = ""


FINER = {"kernel": 128, "stride": 64, "audio_channels": 256, "stages": 4}  # of demo-long
COARSER = {"audio_encoder": {"frequency_stride": 4}}  # of demo

# Two processes of one thread: core-seconds are twice the seconds; an item-second is one second of
# one of the items of a step, on each device: steps x batch x seconds x devices.
_DEMO_RUN = f"{BENCHMARKS}, the demo"
_HOUR_RUN = f"{BENCHMARKS}, an hour per family"
_STEP = f"{BENCHMARKS}: a training step of 2 x 2 s, without validations"
TRAINING = (
    Training("lipcoder", "demo", {}, Rate(2 * 113 / (150 * 16), f"{_DEMO_RUN}: 113 s")),
    Training("dolphin", "demo", {}, Rate(2 * 275 / (360 * 48), f"{_DEMO_RUN}: 275 s")),
    Training("dolphin", "demo", FINER, Rate(2 * 3060 / (3200 * 48), f"{_HOUR_RUN}: 51 min")),
    Training("dolphin", "full", {}, Rate(8.72 / 4, f"{_STEP}, bf16")),
    Training("dolphin", "full", {}, Rate(11.9 / 4, f"{_STEP}, fp32"), "fp32"),
    Training("vovit-s1", "demo", {}, Rate(2 * 960 / (2000 * 32), f"{_HOUR_RUN}: 16 min")),
    Training("vovit-s1", "demo", COARSER, Rate(125 / (240 * 32), f"{_DEMO_RUN}: 125 s")),
    Training("vovit", "demo", {}, Rate(2 * 240 / (300 * 32), f"{_HOUR_RUN}: 4 min")),
)


def training_rate(
    model: str, size: str, overrides: Mapping[str, Any], precision: str
) -> Rate | None:
    """Core-seconds per second of training item on a CPU; None if no such training was timed."""
    found = [
        one for one in TRAINING
        if (one.model, one.size, one.overrides) == (model, size, dict(overrides))
        and one.precision in ("", precision)
    ]  # fmt: skip
    return found[-1].rate if found else None


# --- disk, in bytes

SHARD_BYTES = {
    "compact": Rate(370e9 / (2442 * 3600), "docs/data.md: 370 GB for VoxCeleb2"),
    "plain": Rate(2.4e12 / (2442 * 3600), "docs/data.md: 2.4 TB for VoxCeleb2"),
}
"""Bytes of finished shards per second of a face; the demo's are a tenth smaller."""

LIPS_CRF = 18  # quality of the mouth video that SHARD_BYTES was measured with

DEMO_CLIP_BYTES = 71_100
"""Bytes per rendered clip."""

TABLE_BYTES = {"download": 300, "clean": 1700, "mix": 800, "evaluate": 2000}
"""Bytes of tables and journals per item: those of the demo, rounded up."""

PARAMETERS = {
    ("lipcoder", "demo"): 156_150,
    ("lipcoder", "full"): 1_321_108,
    ("dolphin", "demo"): 1_220_000,
    ("dolphin", "full"): 7_000_448,
    ("vovit-s1", "demo"): 610_000,
    ("vovit-s1", "full"): 51_978_024,
    ("vovit", "demo"): 1_120_000,
    ("vovit", "full"): 60_076_585,
}
"""Parameters by model and size: docs/models.md and docs/benchmarks.md."""

WITH_OVERRIDES = (
    ("dolphin", "demo", FINER, 910_000),
    ("vovit-s1", "demo", COARSER, 580_000),
)

BYTES_PER_PARAMETER = 4 * 16 + 4
"""Four checkpoints (last, previous, best, one being written) of weights, their average and
Adam's two moments, and the exported model."""


def num_parameters(model: str, size: str, overrides: Mapping[str, Any]) -> int | None:
    """Parameters of a network; None for sizes that nobody has counted."""
    if not overrides:
        return PARAMETERS.get((model, size))
    wanted = (model, size, dict(overrides))
    return next((number for *known, number in WITH_OVERRIDES if tuple(known) == wanted), None)
