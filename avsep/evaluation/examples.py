"""Examples to hear and see: the sounds, estimates and lips of a few mixtures.

The examples are spread evenly over the list. They are chosen before any result is known, so
nobody can pick the best ones, and all models keep the same mixtures.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avsep.evaluation.items import EvaluationItem
from avsep.evaluation.results import ResultRow
from avsep.evaluation.separate import EstimateKey
from avsep.files import write_bytes, write_json
from avsep.media.pcm import encode_wav

STRIP_FRAMES = 10  # number of lip frames in a strip
PEAK = 0.99  # of full scale
META = ("licence", "redistributable", "text", "corpus")  # entries kept of a sample's metadata

T = TypeVar("T")


def spread(values: Sequence[T], number: int) -> list[T]:
    """At most `number` of `values`, spread evenly over the list, in their order."""
    if number >= len(values):
        return list(values)
    return [values[(2 * i + 1) * len(values) // (2 * number)] for i in range(number)]


def to_int16(signal: np.ndarray) -> tuple[np.ndarray, float]:
    """A signal as int16, turned down if it would clip, and the factor used.

    Args:
        signal: (N,) float, full scale is 1.
    """
    finite = np.nan_to_num(np.asarray(signal, np.float64), posinf=0.0, neginf=0.0)
    peak = float(np.abs(finite).max(initial=0.0))
    factor = PEAK / peak if peak > PEAK else 1.0
    return np.round(finite * factor * 32767).astype(np.int16), factor


def at_level_of(signal: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`signal` at the RMS level of `reference`: some models are trained without regard to level."""
    own = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    wanted = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    return signal * (wanted / own) if np.isfinite(own) and own > 0 else signal


def lip_strip(lips: np.ndarray) -> np.ndarray:
    """Up to `STRIP_FRAMES` frames side by side, spread evenly over the clip.

    Args:
        lips: (F, 96, 96) uint8.

    Returns:
        (96, 96 n) uint8, with n frames.
    """
    return np.concatenate(spread(list(lips), STRIP_FRAMES), axis=1)


def write_example(
    directory: Path,
    item: EvaluationItem,
    estimates: Mapping[EstimateKey, np.ndarray],
    rows: Iterable[ResultRow],
    metas: Sequence[Mapping[str, Any]],
) -> None:
    """Write one example; `example.json` is written last.

    Args:
        directory: folder of this example.
        item: the mixture.
        estimates: the estimates of this mixture by key, each (N,) float32.
        rows: results of this mixture.
        metas: metadata (the JSON member) of each voice's sample.
    """
    _write_wav(directory / "mixture.wav", item.mixture)
    for index, (target, cues) in enumerate(zip(item.sources, item.cues, strict=True)):
        _write_wav(directory / f"target{index}.wav", target)
        buffer = io.BytesIO()
        np.save(buffer, lip_strip(np.asarray(cues.lips)), allow_pickle=False)
        write_bytes(directory / f"lips{index}.npy", buffer.getvalue())
    for key, estimate in estimates.items():
        levelled = at_level_of(estimate, item.sources[key.target])
        name = f"estimate{key.target}-{key.condition}.wav"
        _write_wav(directory / name, levelled)
    write_json(directory / "example.json", _card(item, rows, metas))


def _write_wav(path: Path, signal: np.ndarray) -> None:
    write_bytes(path, encode_wav(to_int16(signal)[0]))


def _card(
    item: EvaluationItem, rows: Iterable[ResultRow], metas: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    scores: list[dict[str, Any]] = [{} for _ in item.recipe.sources]
    for row in rows:
        scores[row.target][row.condition] = {
            metric: value
            for metric in ("si_snr_mixture", "si_snri", "sdri", "pesq", "stoi")
            if np.isfinite(value := getattr(row, metric))
        }
    voices = [
        {
            "key": source.key,
            "speaker": source.speaker,
            "gender": source.gender,
            "scores": scores[index],
            **{name: meta[name] for name in META if name in meta},
        }
        for index, (source, meta) in enumerate(zip(item.recipe.sources, metas, strict=True))
    ]
    return {"mixture_id": item.recipe.mixture_id, "voices": voices}
