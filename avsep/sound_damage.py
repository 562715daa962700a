"""Damage to the sound of a mixture: what a room, other people, a machine or a microphone does.

Each has a severity from 0 (none) to 1:

- `reverberant`: the voices talk in a room whose reverberation time is that many seconds.
- `babble`: other voices talk at once; the severity is their amplitude as a share of that of the
  voices, so 1 is an SNR of 0 dB and 0.1 one of 20 dB.
- `noise`: steady noise with the spectrum of the voices, as loud as `babble`.
- `quiet`: the recording is turned down by up to 40 dB and rounded to 16 bits.
- `weaker`: one voice is turned down against the others by up to 15 dB.

What an estimate is scored against, and what training aims at, is the voice as it is in the mixture.
In a room it is the early voice: the direct sound with what the walls send back within 50 ms. A
separator is not asked to undo a room's first reflections, which belong to the voice for the ear (as
in C50 of ISO 3382); all later reverberation counts as disturbance. The direct sound keeps its time,
and every voice its energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avsep.energy import as_loud_as
from avsep.room import draw_room, impulse_response
from avsep.schema import RATE_HZ

MAX_RT60_S = 1.0
EARLY_S = 0.05
MAX_QUIET_DB = 40.0
MAX_WEAKER_DB = 15.0
BABBLE_VOICES = 6
PEAK = 0.99  # of full scale; a damaged mixture that would clip is turned down to it
_FULL_SCALE = 32768.0


def damage_sound(
    sources: NDArray[np.float32],
    kind: str,
    severity: float,
    rng: np.random.Generator,
    *,
    rest: NDArray[np.float32] | None = None,
    voice: int = 0,
    babble: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Damage the sound of a mixture; the arrays that are given are not changed.

    Args:
        sources: the voices as they are in the mixture, (S, N) at 16 kHz.
        kind: one of `avsep.damage.SOUND`.
        severity: 0 to 1.
        rng: draws the room and the noise.
        rest: what else the mixture has, such as the noise of its list, (N,); None for nothing.
        voice: number of the voice that is turned down when the kind is `weaker`.
        babble: other voices, (N,), see `babble_of`; only the kind `babble` needs it.

    Returns:
        The mixture (N,) and its references (S, N).
    """
    references = sources.astype(np.float64)
    more = np.zeros(references.shape[1]) if rest is None else rest.astype(np.float64)
    if kind == "reverberant":
        wet, references = _in_a_room(references, MAX_RT60_S * severity, rng)
        mixture = wet.sum(axis=0) + more
    elif kind in ("babble", "noise"):
        voices = references.sum(axis=0)
        added = _shaped_noise(voices, rng) if kind == "noise" else babble
        assert added is not None
        mixture = voices + more + severity * as_loud_as(added, voices)
    elif kind == "quiet":
        factor = 10 ** (-MAX_QUIET_DB * severity / 20)
        references *= factor
        mixture = np.rint((references.sum(axis=0) + factor * more) * _FULL_SCALE) / _FULL_SCALE
    elif kind == "weaker":
        references[voice] *= 10 ** (-MAX_WEAKER_DB * severity / 20)
        mixture = references.sum(axis=0) + more
    else:
        raise ValueError(f"{kind} is not a damage of sound.")
    if (peak := float(np.abs(mixture).max(initial=0.0))) > 1:
        mixture, references = mixture * (PEAK / peak), references * (PEAK / peak)
    return mixture.astype(np.float32), references.astype(np.float32)


def babble_of(voices: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
    """The sum of voices (N,) of equal energy, (N,); its level does not matter."""
    wide = np.stack(voices).astype(np.float64)
    energy = np.square(wide).sum(axis=1, keepdims=True)
    return (wide / np.sqrt(np.where(energy > 0, energy, 1))).sum(axis=0)


def _in_a_room(
    voices: NDArray[np.float64], rt60_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voices as a microphone in a room hears them, and their early parts, (S, N) each."""
    from scipy.signal import fftconvolve

    room, length = draw_room(len(voices), rng), voices.shape[1]
    wet, early = np.empty_like(voices), np.empty_like(voices)
    for number, voice in enumerate(voices):
        response = impulse_response(room, number, rt60_s, RATE_HZ, rng)
        heard = fftconvolve(voice, response)[:length]
        first = fftconvolve(voice, response[: round(EARLY_S * RATE_HZ)])[:length]
        energy = float(np.square(heard).sum())
        factor = np.sqrt(float(np.square(voice).sum()) / energy) if energy > 0 else 1.0
        wet[number], early[number] = factor * heard, factor * first
    return wet, early


def _shaped_noise(voices: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise with the mean spectrum of a sound (N,), in bands of 31 Hz."""
    from scipy.signal import welch

    length = len(voices)
    places, power = welch(voices, RATE_HZ, nperseg=min(512, length), detrend=False)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    shape = np.sqrt(np.interp(np.fft.rfftfreq(length, 1 / RATE_HZ), places, power))
    return np.fft.irfft(spectrum * shape, length)
