"""A model as an ONNX file: sound and the cues of a face in, the voice out."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from avsep import __version__
from avsep.errors import CheckError, UsageError
from avsep.files import atomic_path, dump_json
from avsep.models import checkpoint
from avsep.models.registry import families, model_name
from avsep.models.released import one_sentence
from avsep.schema import FPS, RATE_HZ

OPSET = 17
TOLERANCE = 1e-4  # of the largest sample of the voice
SOUND, VOICE = "mixture", "voice"
# Items and samples of the sounds of the check; the first is also the one that is recorded.
CHECKS = ((2, 24_007), (1, 8_000), (3, 16_000), (1, 70_001))


@dataclass(frozen=True)
class OnnxModel:
    """What was written.

    Attributes:
        inputs: number format and shape by name.
        outputs: the same.
        difference: from the model, as a share of the largest sample, at most.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    difference: float


def check(path: Path) -> None:
    """Check that a file can be made, before the work is done.

    Raises:
        UsageError: it is there already, or is not a .onnx file.
        CheckError: a package is missing.
    """
    if path.suffix != ".onnx":
        raise UsageError(f"{path} must be an .onnx file.")
    if path.exists():
        raise UsageError(f"{path} is there already; remove it, or give another name.")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise CheckError(
            f"ONNX files need the package {error.name}: pip install onnx onnxruntime."
        ) from error


def export(model: Path, path: Path) -> OnnxModel:
    """Write a model and check it in ONNX Runtime.

    Args:
        model: see `checkpoint.load`.
        path: a new .onnx file. It is written as a whole or not at all.

    Raises:
        UsageError: see `check`.
        CheckError: a package is missing; the model is damaged, cannot be exported, or gives other
            voices in ONNX Runtime.
    """
    check(path)
    network: Any = checkpoint.load(model)
    card = network.card
    traceable = families()[card["family"]].traceable
    if traceable is None:
        raise CheckError(f"{model} holds a {card['family']}, which separates nothing by itself.")
    whole: Any = traceable()(network).eval()
    with torch.no_grad(), one_sentence():
        examples = [_example(whole, *sizes) for sizes in CHECKS]
        expected = [network.estimate(sound, whole.cues(cue)) for sound, cue in examples]
        content = _recorded(whole, examples[0], _facts(card, whole))
    largest = 0.0
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        session = _session(content)
        for example, voice in zip(examples, expected, strict=True):
            difference = _difference(session, whole.cue, example, voice)
            if not difference <= TOLERANCE:  # NaN too
                raise CheckError(
                    f"{path} was not written: in ONNX Runtime the model gives other voices; they"
                    f" differ by {difference:.1e} of the largest sample, more than {TOLERANCE}."
                )
            largest = max(largest, difference)
    return OnnxModel(_shapes(session.get_inputs()), _shapes(session.get_outputs()), largest)


def _example(whole: Any, batch: int, num_samples: int) -> tuple[Tensor, Tensor]:
    """A noisy sound (B, L) and the cues of a face, drawn by length."""
    generator = torch.Generator().manual_seed(num_samples)
    sound = 0.1 * torch.randn(batch, max(num_samples, whole.shortest), generator=generator)
    return sound, whole.example(batch, sound.shape[1], generator)


def _recorded(whole: Any, example: tuple[Tensor, Tensor], facts: Mapping[str, str]) -> bytes:
    """The bytes of an ONNX file of a recordable network."""
    import onnx

    buffer = io.BytesIO()
    axes = {SOUND: {0: "batch", 1: "samples"}, whole.cue: {0: "batch", 1: "frames"}}
    with warnings.catch_warnings(), _Recordable():
        # Of branches on sizes, which the check below covers, and of the exporter's age: the one
        # that is to follow it takes minutes for sizes that follow from others.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            example,
            buffer,  # type: ignore[arg-type]  # the exporter writes into files as well
            input_names=[SOUND, whole.cue],
            output_names=[VOICE],
            dynamic_axes={**axes, VOICE: axes[SOUND]},
            opset_version=OPSET,
            dynamo=False,
        )
    written = onnx.load_from_string(buffer.getvalue())
    written.producer_name, written.producer_version = "avsep", __version__
    onnx.helper.set_model_props(written, dict(facts))
    return written.SerializeToString()


class _Recordable(TorchFunctionMode):
    """Says in other operations what the exporter gets wrong.

    It loses the shapes of flattened and unflattened tensors, takes a size of -1 for the name of a
    size, and repeating along a negative axis changes the number of that axis everywhere.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.unflatten:
            return _unflatten(*args, **kwargs)
        if func is Tensor.flatten:
            return _flatten(*args, **kwargs)
        if func is Tensor.repeat_interleave:
            return _repeat(*args, **kwargs)
        return func(*args, **kwargs)


def _unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    dim %= x.dim()
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def _flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    first, last = start_dim % x.dim(), end_dim % x.dim()
    merged = math.prod(x.shape[first : last + 1])
    return x.reshape(*x.shape[:first], merged, *x.shape[last + 1 :])


def _repeat(x: Tensor, repeats: int, dim: int) -> Tensor:
    dim %= x.dim()
    return _flatten(torch.stack([x] * repeats, dim + 1), dim, dim + 1)


def _facts(card: Mapping[str, Any], whole: Any) -> dict[str, str]:
    """What the file says of itself, besides the names and shapes of its inputs and outputs."""
    return {
        "model": model_name(card),
        "sample_rate_hz": str(RATE_HZ),
        "frames_per_second": str(FPS),
        SOUND: f"sound at {RATE_HZ} Hz, mono, one row per face",
        VOICE: "the voice of the face of each row, at the level of the sound",
        whole.cue: whole.note,
        "avsep_version": __version__,
        "weights_sha256": str(card["sha256"]),
        "licence": str(card.get("licence", "")),
        "config": dump_json(card["config"], indent=None),
    }


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _difference(session: Any, cue: str, example: tuple[Tensor, Tensor], voice: Tensor) -> float:
    """The largest difference from a voice (B, L), as a share of its largest sample."""
    sound, seen = (values.numpy() for values in example)
    (found,) = session.run(None, {SOUND: sound, cue: seen})
    if found.shape != tuple(voice.shape):
        return float("inf")
    return float((torch.from_numpy(found) - voice).abs().max() / voice.abs().max())


def _shapes(values: Any) -> dict[str, str]:
    return {one.name: f"{one.type} {one.shape}" for one in values}
