"""A few mixtures to hear and see: sounds, estimates and lips, kept beside the figures.

Which mixtures are kept is decided before any result is known (evenly over the list), so nobody
can pick the best ones, and all models keep the same.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avsep.evaluation.items import EvaluationItem
from avsep.evaluation.results import ResultRow
from avsep.evaluation.separate import Job
from avsep.files import write_bytes, write_json
from avsep.schema import RATE_HZ

STRIP_FRAMES = 10  # lip frames that a strip shows
PEAK = 0.99
META = ("licence", "redistributable", "text", "corpus")  # what an example keeps of a sample

T = TypeVar("T")


def spread(values: Sequence[T], number: int) -> list[T]:
    """At most `number` of `values`, evenly over the list, in their order; 0 gives none."""
    if number >= len(values):
        return list(values)
    return [values[(2 * i + 1) * len(values) // (2 * number)] for i in range(number)]


def to_int16(signal: np.ndarray) -> tuple[np.ndarray, float]:
    """Sound as int16, turned down where it would clip, and the factor used.

    Args:
        signal: (N,) float, full scale is 1.
    """
    finite = np.nan_to_num(np.asarray(signal, np.float64), posinf=0.0, neginf=0.0)
    peak = float(np.abs(finite).max(initial=0.0))
    factor = PEAK / peak if peak > PEAK else 1.0
    return np.round(finite * factor * 32767).astype(np.int16), factor


def at_level_of(signal: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`signal` at the RMS level of `reference`: some models have no level of their own."""
    own = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))
    wanted = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    return signal * (wanted / own) if np.isfinite(own) and own > 0 else signal


def wav_bytes(samples: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    """A mono 16-bit WAV file.

    Args:
        samples: (N,) int16.
        rate_hz: samples a second.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def lip_strip(lips: np.ndarray) -> np.ndarray:
    """A few frames side by side, evenly over the clip.

    Args:
        lips: (F, 96, 96) uint8.

    Returns:
        (96, 96 n) uint8.
    """
    return np.concatenate(spread(list(lips), STRIP_FRAMES), axis=1)


def write_example(
    directory: Path,
    item: EvaluationItem,
    estimates: Mapping[Job, np.ndarray],
    rows: Iterable[ResultRow],
    metas: Sequence[Mapping[str, Any]],
) -> None:
    """Write one example; `example.json` comes last.

    Args:
        directory: of this example.
        item: the mixture.
        estimates: (N,) float32 of this mixture, by job.
        rows: results of this mixture.
        metas: the JSON member of each voice's sample.
    """
    write_bytes(directory / "mixture.wav", wav_bytes(to_int16(item.mixture)[0]))
    for index, (target, cues) in enumerate(zip(item.sources, item.cues, strict=True)):
        write_bytes(directory / f"target{index}.wav", wav_bytes(to_int16(target)[0]))
        buffer = io.BytesIO()
        np.save(buffer, lip_strip(np.asarray(cues.lips)), allow_pickle=False)
        write_bytes(directory / f"lips{index}.npy", buffer.getvalue())
    for job, estimate in estimates.items():
        levelled = at_level_of(estimate, item.sources[job.target])
        name = f"estimate{job.target}-{job.condition}.wav"
        write_bytes(directory / name, wav_bytes(to_int16(levelled)[0]))
    write_json(directory / "example.json", _card(item, rows, metas))


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
