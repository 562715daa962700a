"""From phonemes to face units: visemes with coarticulation.

Each phoneme pulls the mouth towards the shape of its viseme with a strength and a reach (the
dominance functions of Cohen and Massaro). Closures such as p, b, m, f and v are dominant, so they
remain visible between open vowels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = (
    "jawOpen",
    "mouthFunnel",
    "mouthPucker",
    "mouthStretch",
    "mouthSmile",
    "mouthPress",
    "mouthRollUpper",
    "mouthRollLower",
    "mouthUpperUp",
    "mouthLowerDown",
)
_BOTH_SIDES = frozenset(
    {"mouthStretch", "mouthSmile", "mouthPress", "mouthUpperUp", "mouthLowerDown"}
)
_EXPRESSION = ("eyeBlinkLeft", "eyeBlinkRight", "browInnerUp", "browDownLeft", "browDownRight")


def _unit_names(channel: str) -> tuple[str, ...]:
    return (f"{channel}Left", f"{channel}Right") if channel in _BOTH_SIDES else (channel,)


FACE_UNITS = (*(unit for channel in CHANNELS for unit in _unit_names(channel)), *_EXPRESSION)
_CHANNEL_OF_UNIT = [i for i, channel in enumerate(CHANNELS) for _ in _unit_names(channel)]

LEAD_S = 0.03  # the lips move this much before the sound
REACH_S = 0.045  # how far the pull of a phoneme reaches beyond its core
SHORT_GAP_S = 0.12  # a shorter gap between words is not a pause
JAW_SCALE = 0.75  # factor on the jaw angles below, which were set for clear speech
VOWELS = frozenset({"aa", "ae", "ah", "E", "I", "ih", "O", "aw", "U", "ur", "schwa"})


class Viseme(NamedTuple):
    """A mouth shape.

    Attributes:
        shape: (channels,) amounts in 0..1.
        dominance: strength of the pull.
    """

    shape: NDArray[np.float64]
    dominance: float


def _viseme(dominance: float, **amounts: float) -> Viseme:
    return Viseme(np.array([amounts.get(name, 0.0) for name in CHANNELS]), dominance)


VISEMES = {
    "sil": _viseme(0.35, jawOpen=0.01),
    "PP": _viseme(5.0, jawOpen=0.02, mouthPress=0.55, mouthRollUpper=0.30, mouthRollLower=0.30),
    "FF": _viseme(3.5, jawOpen=0.07, mouthRollLower=0.55, mouthUpperUp=0.25),
    "TH": _viseme(1.2, jawOpen=0.16, mouthLowerDown=0.15, mouthStretch=0.12),
    "DD": _viseme(0.8, jawOpen=0.13, mouthLowerDown=0.15, mouthStretch=0.12),
    "kk": _viseme(0.6, jawOpen=0.20, mouthLowerDown=0.10),
    "SS": _viseme(1.5, jawOpen=0.06, mouthStretch=0.40, mouthLowerDown=0.25, mouthUpperUp=0.12),
    "CH": _viseme(1.8, jawOpen=0.10, mouthFunnel=0.55, mouthPucker=0.15),
    "RR": _viseme(1.0, jawOpen=0.14, mouthFunnel=0.25, mouthPucker=0.30),
    "LL": _viseme(0.8, jawOpen=0.22, mouthStretch=0.10, mouthLowerDown=0.10),
    "WW": _viseme(2.2, jawOpen=0.08, mouthPucker=0.85, mouthFunnel=0.15),
    "aa": _viseme(1.6, jawOpen=0.78, mouthLowerDown=0.20, mouthStretch=0.10),
    "ae": _viseme(1.6, jawOpen=0.62, mouthStretch=0.38, mouthUpperUp=0.12, mouthLowerDown=0.20),
    "ah": _viseme(1.2, jawOpen=0.45, mouthLowerDown=0.10),
    "schwa": _viseme(0.6, jawOpen=0.26),
    "E": _viseme(1.4, jawOpen=0.42, mouthStretch=0.35, mouthSmile=0.10),
    "I": _viseme(1.5, jawOpen=0.20, mouthStretch=0.45, mouthSmile=0.25, mouthLowerDown=0.12),
    "ih": _viseme(1.1, jawOpen=0.24, mouthStretch=0.25, mouthSmile=0.10),
    "O": _viseme(1.7, jawOpen=0.48, mouthFunnel=0.60, mouthPucker=0.25),
    "aw": _viseme(1.6, jawOpen=0.62, mouthFunnel=0.40),
    "U": _viseme(2.0, jawOpen=0.14, mouthPucker=0.85, mouthFunnel=0.15),
    "ur": _viseme(1.3, jawOpen=0.26, mouthFunnel=0.35, mouthPucker=0.25),
}

_SYMBOLS = {
    "PP": "pbm",
    "FF": "fv",
    "TH": "θð",
    "DD": "tdnɾT",
    "kk": "kɡgŋhxʔ",
    "SS": "sz",
    "CH": "ʃʒʧʤ",
    "RR": "ɹrɻ",
    "LL": "lɫ",
    "WW": "wʍ",
    "I": "ji",
    "aa": "ɑa",
    "ae": "æ",
    "ah": "ɐʌ",
    "schwa": "əᵊ",
    "ur": "ɚɜɝ",
    "E": "ɛe",
    "ih": "ɪᵻ",
    "O": "o",
    "aw": "ɔɒ",
    "U": "uʊy",
}
VISEME_OF = {symbol: name for name, symbols in _SYMBOLS.items() for symbol in symbols}
# Capital letters that misaki (the text-to-phoneme part of Kokoro) writes for diphthongs.
_DIPHTHONGS = {
    "A": ("E", "I"),
    "I": ("aa", "ih"),
    "O": ("O", "U"),
    "Q": ("ur", "U"),
    "W": ("aa", "U"),
    "Y": ("O", "ih"),
}
_STRESS = {"ˈ": 1.15, "ˌ": 1.05}
_EXTENDS = frozenset("ː:ʲ")  # these belong to the symbol before them


@dataclass(frozen=True)
class Phoneme:
    """A symbol with its span in seconds."""

    symbol: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """A viseme with its span in seconds and a factor on the jaw, above 1 for stressed vowels."""

    viseme: str
    start_s: float
    end_s: float
    stress: float


def segments(phonemes: Sequence[Phoneme], *, misaki: bool) -> list[Segment]:
    """The visemes of timed phonemes; marks of stress and length are merged into their vowel.

    Args:
        phonemes: in order of time.
        misaki: whether capital letters stand for diphthongs.
    """
    found: list[Segment] = []
    stress, mark_start_s = 1.0, None
    for phoneme in phonemes:
        symbol, start_s, end_s = phoneme.symbol, phoneme.start_s, phoneme.end_s
        if symbol in _STRESS:
            stress = _STRESS[symbol]
            mark_start_s = start_s if mark_start_s is None else mark_start_s
            continue
        if found and (symbol in _EXTENDS or (symbol == " " and end_s - start_s < SHORT_GAP_S)):
            # The neighbours of a short gap meet in its middle.
            until_s = (start_s + end_s) / 2 if symbol == " " else end_s
            last = found[-1]
            found[-1] = Segment(last.viseme, last.start_s, until_s, last.stress)
            continue
        if mark_start_s is not None:
            start_s, mark_start_s = mark_start_s, None
        if misaki and symbol in _DIPHTHONGS:
            first, second = _DIPHTHONGS[symbol]
            change_s = start_s + 0.55 * (end_s - start_s)
            found.append(Segment(first, start_s, change_s, stress))
            found.append(Segment(second, change_s, end_s, stress))
            stress = 1.0
            continue
        viseme = VISEME_OF.get(symbol, "sil")
        found.append(Segment(viseme, start_s, end_s, stress if viseme != "sil" else 1.0))
        if viseme in VOWELS or viseme == "sil":
            stress = 1.0
    return found


def mouth_curves(
    spans: Sequence[Segment],
    num_frames: int,
    fps: float,
    loudness: NDArray[np.float64],
    articulation: float,
) -> NDArray[np.float64]:
    """(num_frames, channels) amounts in 0..1, rounded to 1e-6.

    Args:
        spans: from `segments`.
        num_frames: number of frames.
        fps: frames per second.
        loudness: (num_frames,) in 0..1; the jaw opens wider in loud speech.
        articulation: factor on all amounts, about 1.
    """
    time_s = (np.arange(num_frames) + 0.5) / fps + LEAD_S
    total = np.zeros((num_frames, len(CHANNELS)))
    weight = np.full((num_frames, 1), 1e-3)
    for span in spans:
        shape, dominance = VISEMES[span.viseme]
        centre_s, half_s = (span.start_s + span.end_s) / 2, (span.end_s - span.start_s) / 2
        if span.viseme == "sil":  # a long pause closes the mouth, a short one barely does
            dominance *= min(4.0, 1 + 16 * half_s)
        beyond_s = np.maximum(np.abs(time_s - centre_s) - 0.6 * half_s, 0)
        pull = dominance * np.exp(-((beyond_s / REACH_S) ** 1.4))[:, None]
        goal = shape.copy()
        goal[0] *= span.stress
        total += pull * goal
        weight += pull
    curves = total / weight
    curves[:, 0] *= JAW_SCALE * (0.35 + 0.75 * loudness)
    return np.round(np.clip(curves * articulation, 0, 1), 6)


def unit_weights(
    curves: NDArray[np.float64], blink: NDArray[np.float64], brow: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(frames, face units) weights in the order of `FACE_UNITS`.

    Args:
        curves: (frames, channels) from `mouth_curves`.
        blink: (frames,) in 0..1.
        brow: (frames,) above 0 raised, below 0 lowered.
    """
    up, down = np.maximum(brow, 0), np.maximum(-brow, 0)
    expression = np.stack([blink, blink, up, down, down], -1)
    return np.concatenate([curves[:, _CHANNEL_OF_UNIT], expression], -1)


def loudness(audio: NDArray[np.int16], rate_hz: int, fps: int, num_frames: int) -> np.ndarray:
    """(num_frames,) loudness of `audio` (samples,) from 0 (35 dB below the loudest) to 1."""
    hop = rate_hz // fps
    padded = np.zeros(num_frames * hop)
    used = audio[: len(padded)]
    padded[: len(used)] = used / 32768.0
    level_db = 10 * np.log10((padded.reshape(num_frames, hop) ** 2).mean(1) + 1e-10)
    top_db = np.percentile(level_db, 95)
    return np.round(np.clip((level_db - (top_db - 35)) / 35, 0, 1), 6)
