"""Run a model bench with the options of the command line, and report it."""

from __future__ import annotations

import json
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from avsep.bench.models.dolphin import DolphinBench, bench_dolphin
from avsep.bench.models.dolphin_training import bench_heat, bench_steps
from avsep.bench.models.dolphin_windows import bench_windows
from avsep.bench.models.report import report
from avsep.bench.models.vovit import VoViTBench, bench_vovit
from avsep.errors import CheckError, UsageError

MODELS = ("dolphin", "vovit")
ONLY_DOLPHIN = ("seconds", "long", "train", "compile", "weights")
ONLY_VOVIT = ("batch", "backend", "table")


def run(*, model: str, **options: Any) -> str:
    """Measure a model and return the text to print.

    Args:
        model: one of `MODELS`.
        **options: options of `avsep bench models` (`avsep.cli.bench`).

    Raises:
        UsageError: the model is unknown, an option belongs to the other model, or a value is out of
            range.
        CheckError: the measurement ran out of memory or time.
    """
    if model not in MODELS:
        raise UsageError(f"--model is {model!r}; it may be {', '.join(MODELS)}.")
    foreign = ONLY_VOVIT if model == "dolphin" else ONLY_DOLPHIN
    if given := [name for name in foreign if options[name]]:
        raise UsageError(f"--{given[0]} is not an option of {model}; leave it out.")
    if options["device"].startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a GPU, but PyTorch finds none.")
    try:
        result = _dolphin(options) if model == "dolphin" else _vovit(options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (TimeoutError, BrokenProcessPool) as error:
        raise CheckError(
            "a measurement took too long or was killed, perhaps because memory ran out; measure"
            " shorter audio or fewer variants."
        ) from error
    if options["json"]:
        return json.dumps(result, sort_keys=True, indent=1)
    return report(result)


def _dolphin(options: dict[str, Any]) -> dict[str, Any]:
    settings = DolphinBench(
        seconds=_numbers(options["seconds"]) or DolphinBench.seconds,
        long_s=_numbers(options["long"]),
        device=options["device"],
        threads=options["threads"],
        dense_up_to_s=options["dense_up_to"],
        compiled=options["compile"],
        train=options["train"],
        weights=Path(options["weights"]) if options["weights"] else None,
        **_runs(options),
    )
    result = bench_dolphin(settings, announce=_announce)
    if settings.train:
        _announce("a training step, and the heat layer's backward pass")
        result["train_step"] = bench_steps(settings)
        result["heat"] = bench_heat(settings)
    for audio_s in settings.long_s:
        _announce(f"{audio_s:g} s in windows")
        result.setdefault("windowed", []).append(bench_windows(settings, audio_s))
    return result


def _vovit(options: dict[str, Any]) -> dict[str, Any]:
    settings = VoViTBench(
        device=options["device"],
        threads=options["threads"],
        batch=options["batch"],
        backend=options["backend"],
        **_runs(options),
    )
    return bench_vovit(settings, announce=_announce)


def _runs(options: dict[str, Any]) -> dict[str, int]:
    """Runs and warm-ups, where given."""
    given = {}
    if options["runs"]:
        given["runs"] = options["runs"]
    if options["warm_ups"] >= 0:
        given["warm_ups"] = options["warm_ups"]
    return given


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError as error:
        raise UsageError(f"{text!r} must be numbers separated by commas, e.g. 1,2,4.") from error


def _announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
