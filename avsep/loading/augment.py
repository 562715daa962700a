"""Changes to training items. Each draws random numbers only from the generator it is given.

Lips: one random 88x88 cut and a mirror image, the same for the whole clip, as the field trains its
mouth encoders, other proportions and another light. Landmarks: other proportions, noise and a small
shift in time. Sound: level, spectrum, formants, and damage. Sound and video together: speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from avsep.damage import SOUND, VISUAL, draw_damage
from avsep.energy import as_loud_as
from avsep.loading.config import AugmentConfig
from avsep.loading.formants import move_formants
from avsep.schema import LIPS_SIZE
from avsep.sound_damage import babble_of, damage_sound
from avsep.visual_damage import damage_video

CROP_SIZE = 88
MARGIN = LIPS_SIZE - CROP_SIZE
SHAPE_PX = 10.0  # by which a `shape` of one would move a landmark
EQ_POINTS = 6  # of the random curve
EQ_BEND = 8.0  # how much denser the points lie at low frequencies
EQ_TAIL = 256  # samples that a smooth curve's filter reaches


def crop_lips(
    lips: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut the mouth, (F, 96, 96) to (F, 88, 88); maybe stretch it, mirror it, change its light.

    Before that, the video may be damaged, see `config.visual`. Any other change is the same for the
    whole clip. Without `config.crop` the centre is cut, as the models themselves do.
    """
    if config.visual and rng.random() < config.visual:
        damaged, _, _ = damage_video(lips, None, None, *draw_damage(VISUAL, rng), rng)
        assert damaged is not None
        lips = damaged
    top, left = rng.integers(0, MARGIN + 1, size=2) if config.crop else (MARGIN // 2, MARGIN // 2)
    mirrored = rng.random() < config.flip
    cut = lips[:, top : top + CROP_SIZE, left : left + CROP_SIZE]
    if config.shape:
        cut = _stretched(lips, (top, left), np.exp(rng.uniform(-1, 1, 2) * np.log1p(config.shape)))
    if mirrored:
        cut = cut[:, :, ::-1]
    if config.light:
        power = np.exp(rng.uniform(-config.light, config.light))
        cut = np.take(np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8), cut)
    return np.ascontiguousarray(cut)


def _stretched(
    lips: NDArray[np.uint8], corner: tuple[int, int], zoom: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Cut 88x88 around the middle of the cut at `corner`, magnified by `zoom` (height, width).

    Interpolates linearly; beyond the border, the border's pixels are repeated.
    """
    rows, columns = (
        _straight_lines(start + (CROP_SIZE - 1) / 2, factor, side)
        for start, factor, side in zip(corner, zoom, lips.shape[1:], strict=True)
    )
    return np.rint(rows @ lips.astype(np.float32) @ columns.T).astype(np.uint8)


def _straight_lines(middle: float, zoom: float, side: int) -> NDArray[np.float32]:
    """The matrix (88, side) that samples 88 values around the `middle` of a line of pixels."""
    place = np.clip(middle + (np.arange(CROP_SIZE) - (CROP_SIZE - 1) / 2) / zoom, 0, side - 1)
    distance = np.abs(place[:, None] - np.arange(side))
    return np.maximum(0, 1 - distance).astype(np.float32)


def reshape_face(
    points: NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Give landmarks (F, 68, 3) other proportions, the same in all frames; see `shape`."""
    if not config.shape:
        return points
    face = points.mean(axis=0, dtype=np.float32)
    middle = face.mean(axis=0)
    scale = np.exp(rng.uniform(-1, 1, 3) * np.log1p(config.shape)).astype(np.float32)
    moved = np.float32(SHAPE_PX * config.shape) * rng.standard_normal(face.shape, np.float32)
    reach = np.float32(np.exp(rng.uniform(-1, 1) * np.log1p(2 * config.shape)))
    return middle + scale * (face + moved - middle + reach * (points - face))


def damage_landmarks(
    points: NDArray[np.float32],
    valid: NDArray[np.uint8],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Maybe damage landmarks (F, 68, 3) and their marks (F,); see `avsep.visual_damage`."""
    if config.visual and rng.random() < config.visual:
        _, damaged, marks = damage_video(None, points, valid, *draw_damage(VISUAL, rng), rng)
        assert damaged is not None
        assert marks is not None
        return damaged, marks
    return points, valid


def shift_positions(
    positions: NDArray[np.float32], last: int, config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The positions of the landmark frames after a random shift, kept in 0..last."""
    shift = int(rng.integers(-config.shift_frames, config.shift_frames + 1))
    return np.clip(positions + np.float32(shift), 0, last)


def jitter_landmarks(
    points: NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add noise to landmarks, (F, 68, 3) in pixels."""
    if not config.noise_px:
        return points
    noise = rng.standard_normal(points.shape, np.float32) * np.float32(config.noise_px)
    return points + noise


def damage_voices(
    voices: NDArray[np.float32],
    neighbours: Callable[[], Sequence[NDArray[np.float32]]],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maybe damage the sound of a mixture; see `avsep.sound_damage`.

    Args:
        voices: the voices of the mixture, (S, N).
        neighbours: gives voices of other speakers, (N,) each, for babble.
        config: the probability.
        rng: draws whether and how.

    Returns:
        The mixture (N,) and the voices as they are in it (S, N).
    """
    if not (config.sound and rng.random() < config.sound):
        return np.sum(voices, axis=0, dtype=np.float32), voices
    kind, severity = draw_damage(SOUND, rng)
    voice = int(rng.integers(len(voices)))
    others = neighbours() if kind == "babble" else ()
    babble = babble_of(others) if others else None
    if kind == "babble" and babble is None:
        kind = "noise"  # a set of two speakers has no others
    return damage_sound(voices, kind, severity, rng, voice=voice, babble=babble)


def level_factor(config: AugmentConfig, rng: np.random.Generator) -> np.float32:
    """The factor of a random change of level, uniform in dB."""
    return np.float32(10 ** (rng.uniform(-config.level_db, config.level_db) / 20))


def vocal_tract_perturbation(
    voice: NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Move a voice's formants by a random factor, uniform in logarithm, (N,) to (N,)."""
    if not config.formants:
        return voice
    reach = np.log1p(config.formants)
    return move_formants(voice, float(np.exp(rng.uniform(-reach, reach))))


def random_eq(
    voice: NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Filter a voice by a random smooth curve, (N,) to (N,); its energy stays about the same."""
    if not config.eq_db:
        return voice
    # A power of two that leaves room for the filter's tail: no echo comes round the corner.
    size = 1 << (len(voice) + EQ_TAIL - 1).bit_length()
    place = np.log1p(np.arange(size // 2 + 1) / size * 2 * EQ_BEND) / np.log1p(EQ_BEND)
    gains_db = rng.uniform(-config.eq_db, config.eq_db, EQ_POINTS)
    curve = np.interp(place, np.linspace(0, 1, EQ_POINTS), gains_db)
    spectrum = np.fft.rfft(voice, size) * 10 ** (curve / 20)
    return as_loud_as(np.fft.irfft(spectrum, size)[: len(voice)], voice)
