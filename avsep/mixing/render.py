"""Render recipes into sound, with the same bits on every machine.

Samples are 16-bit integers and gains have 24 fractional bits, so every product and sum is exact
in float64 and no order of operations, library or processor can change a result. Each voice is
rounded to 16 bits once; the mixture is the exact sum of the rounded voices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsep.schema import MixtureRecipe, NoisyRecipe, SourceRecipe

PEAK_LIMIT = 0.99  # of full scale
# These protocols bring their mixtures to full scale on purpose.
_PEAK_LIMITS = {"muse-2mix": 1.0}
FULL_SCALE = 32768.0
_GAIN_STEPS = float(1 << 24)

GetAudio = Callable[[str], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """A mixture as sound, N samples at 16 kHz. All values are multiples of 2^-15.

    Attributes:
        mixture: (N,) float32 in -1..1: exactly the sum of the sources, and of the noise if any.
        sources: (S, N) float32, the voices as they are in the mixture.
        scale: joint factor of all voices; 1.0 unless the peak would have exceeded 0.99.
        noise: (N,) float32, or None.
    """

    mixture: np.ndarray
    sources: np.ndarray
    scale: float
    noise: np.ndarray | None = None


def render(recipe: MixtureRecipe, get_audio: GetAudio) -> Rendered:
    """Mix the voices of a recipe.

    A recipe of a list has its joint scale. A recipe for training has the scale 1.0, and is scaled
    here if its peak would exceed 0.99.

    Args:
        recipe: the recipe.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.

    Raises:
        ValueError: a window reaches beyond its sample, a sound is not int16, or the noise is
            missing or damaged.
    """
    return render_windows(
        recipe, [_window(s, recipe.num_samples, get_audio) for s in recipe.sources]
    )


def render_windows(recipe: MixtureRecipe, sounds: Sequence[np.ndarray]) -> Rendered:
    """Mix the voices of a recipe from the windows that it names, see `render`.

    Args:
        recipe: the recipe.
        sounds: the window of each voice, (N,) int16 at 16 kHz.

    Raises:
        ValueError: a window has another length, or the noise is missing or damaged.
    """
    if any(sound.shape != (recipe.num_samples,) for sound in sounds):
        raise ValueError(
            f"{recipe.mixture_id} has windows of {[len(sound) for sound in sounds]} samples, not"
            f" {recipe.num_samples}."
        )
    windows = [sound.astype(np.float64) for sound in sounds]
    gains = [linear_gain(source.gain_db) for source in recipe.sources]
    limit = _PEAK_LIMITS.get(recipe.protocol, PEAK_LIMIT)
    scale = min(recipe.scale, joint_scale(windows, gains, limit))
    sources = np.stack(
        [
            np.rint(window * _on_grid(gain * scale))
            for window, gain in zip(windows, gains, strict=True)
        ]
    )
    if not isinstance(recipe, NoisyRecipe):
        return Rendered(
            mixture=(sources.sum(axis=0) / FULL_SCALE).astype(np.float32),
            sources=(sources / FULL_SCALE).astype(np.float32),
            scale=scale,
        )
    noise = np.rint(_noise(recipe) * _on_grid(linear_gain(recipe.noise.gain_db) * scale))
    return Rendered(
        mixture=((sources.sum(axis=0) + noise) / FULL_SCALE).astype(np.float32),
        sources=(sources / FULL_SCALE).astype(np.float32),
        scale=scale,
        noise=(noise / FULL_SCALE).astype(np.float32),
    )


def linear_gain(gain_db: float) -> float:
    """A gain in dB as a factor with 24 fractional bits."""
    return _on_grid(10.0 ** (gain_db / 20))


def joint_scale(
    windows: Sequence[np.ndarray], gains: Sequence[float], peak_limit: float = PEAK_LIMIT
) -> float:
    """The joint factor that keeps the mixture and each voice within a limit; 1.0 if none is needed.

    Args:
        windows: sound of each voice, (N,) float64, with the values of 16-bit integers.
        gains: linear gain of each voice, from `linear_gain`.
        peak_limit: highest peak, as a share of full scale.
    """
    voices = [window * gain for window, gain in zip(windows, gains, strict=True)]
    mixture = np.sum(voices, axis=0)
    peak = max(float(np.abs(signal).max(initial=0.0)) for signal in (mixture, *voices))
    limit = peak_limit * FULL_SCALE
    return 1.0 if peak <= limit else math.floor(limit / peak * _GAIN_STEPS) / _GAIN_STEPS


def _on_grid(gain: float) -> float:
    return round(gain * _GAIN_STEPS) / _GAIN_STEPS


def _noise(recipe: NoisyRecipe) -> np.ndarray:
    """(N,) float64, with the values of 16-bit integers."""
    from avsep.media.pcm import decode_flac, pcm_sha256

    try:
        excerpt = decode_flac(Path(recipe.noise.path).read_bytes())
    except OSError as error:
        raise ValueError(f"the noise of {recipe.mixture_id} cannot be read: {error}") from error
    if len(excerpt) != recipe.num_samples or pcm_sha256(excerpt) != recipe.noise.sha256:
        raise ValueError(
            f"{recipe.noise.path} is not the noise of {recipe.mixture_id}; run `mix` again."
        )
    return excerpt.astype(np.float64)


def _window(source: SourceRecipe, num_samples: int, get_audio: GetAudio) -> np.ndarray:
    """(N,) int16."""
    audio = get_audio(source.key)
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise ValueError(
            f"the sound of {source.key} is {audio.dtype} of shape {audio.shape}; it must be int16"
            " with one channel."
        )
    if not 0 <= source.start <= len(audio) - num_samples:
        raise ValueError(
            f"the window {source.start} + {num_samples} reaches beyond the {len(audio)} samples of"
            f" {source.key}; the shards have changed: run the stage `mix` again."
        )
    return audio[source.start : source.start + num_samples]
