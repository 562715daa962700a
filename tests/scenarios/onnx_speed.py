"""A model in ONNX Runtime beside PyTorch, in turns in one process.

    python tests/scenarios/onnx_speed.py [--model dolphin] [--size full] [--seconds 1 2 4]

The weights are random. Prints medians of the seconds and of the processor seconds of a call. The
threads of ONNX Runtime do not spin while they wait, so that its processor time is that of its work.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from avsep.bench.models.dolphin import draw_active_weights
from avsep.exporting.onnx_model import export
from avsep.models import checkpoint
from avsep.models.registry import MODELS
from avsep.schema import RATE_HZ
from tests.support.vovit_tiny import face


def new_model(name: str, size: str) -> torch.nn.Module:
    spec = MODELS[name]
    torch.manual_seed(0)
    sizes = getattr(spec.family.config, size)
    model = spec.family.network()(sizes(spec.variant) if spec.variant else sizes())
    return model.set_mean_face(face()) if spec.variant else draw_active_weights(model)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=list(MODELS), default="dolphin")
    parser.add_argument("--size", choices=["full", "demo"], default="full")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec = MODELS[given.model]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = {"family": spec.family.name}
        checkpoint.save(new_model(given.model, given.size).eval(), folder / "run", card)
        spent = timed(lambda: print(export(folder / "run", folder / "model.onnx")))
        model = checkpoint.load(folder / "run")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = given.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        size = (folder / "model.onnx").stat().st_size
    print(f"{size / 2**20:.0f} MiB, exported and checked in {spent[1]:.0f} CPU s")
    whole = spec.family.traceable()(model)
    generator = torch.Generator().manual_seed(0)
    for seconds in given.seconds:
        samples = round(seconds * RATE_HZ)
        sound = 0.1 * torch.randn(1, samples, generator=generator)
        cue = whole.example(1, samples, generator)
        inputs = {"mixture": sound.numpy(), whole.cue: cue.numpy()}

        @torch.inference_mode()
        def by_torch(sound=sound, cue=cue) -> torch.Tensor:
            return model.estimate(sound, whole.cues(cue))

        def by_onnx(inputs=inputs) -> torch.Tensor:
            return torch.from_numpy(session.run(None, inputs)[0])

        difference = (by_onnx() - by_torch()).abs().max() / by_torch().abs().max()
        turns = [(timed(by_torch), timed(by_onnx)) for _ in range(given.turns)]
        ours, theirs = (
            [statistics.median(turn[way][kind] for turn in turns) for kind in (0, 1)]
            for way in (0, 1)
        )
        print(
            f"{seconds:g} s: PyTorch {ours[0]:.2f} s, {ours[1]:.2f} CPU s; ONNX Runtime"
            f" {theirs[0]:.2f} s, {theirs[1]:.2f} CPU s; {ours[1] / theirs[1]:.2f} times faster in"
            f" processor time, {ours[0] / theirs[0]:.2f} by the clock; difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
