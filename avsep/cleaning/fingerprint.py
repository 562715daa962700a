"""What of a clip survives another encoding: a few hundred bytes to find its copies by.

The sound is described by how the energy of twelve bands moves in time, the pictures by the signs of
their coarse structure (pHash). Clips of one speaker have nearly the same pictures, a still head
before a still wall, so the sound decides and the pictures only confirm.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np

from avsep.cleaning.spectrum import BIN_HZ, HOP
from avsep.schema import RATE_HZ

STEP_S = 0.25  # long enough that a start some milliseconds off moves little
MAX_STEPS = 24  # the first 6 s
MIN_STEPS = 8  # less is too little to tell two sentences apart by
NUM_BANDS = 12  # 250 to 3600 Hz: what a telephone and any codec let through
SOUND_BYTES = MAX_STEPS * NUM_BANDS
HASH_BYTES = 8  # a picture
MAX_PICTURES = 8
SIDE = 32  # of the small pictures, in pixels

_EDGES = np.round(np.geomspace(250, 3600, NUM_BANDS + 1) / BIN_HZ).astype(int)
_FLOOR = 0.1  # of a band's mean, below which it is as good as silent: noise and rounding
_SCALE = 30.0  # of a natural logarithm in int8


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What two encodings of one clip share.

    Attributes:
        sound: (24, 12) int8, energy by step of 0.25 s and band, on a log scale about the mean of
            the band; zeros beyond the end of the clip.
        pictures: (count, 8) uint8, 64 bits a picture.
    """

    sound: np.ndarray
    pictures: np.ndarray

    def packed(self) -> str:
        """As text."""
        return base64.b64encode(self.sound.tobytes() + self.pictures.tobytes()).decode("ascii")

    @classmethod
    def unpacked(cls, text: str) -> Fingerprint | None:
        """From text; None where there is none, or it is damaged."""
        try:
            content = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            return None
        if len(content) < SOUND_BYTES or (len(content) - SOUND_BYTES) % HASH_BYTES:
            return None
        sound = np.frombuffer(content[:SOUND_BYTES], np.int8).reshape(MAX_STEPS, NUM_BANDS)
        pictures = np.frombuffer(content[SOUND_BYTES:], np.uint8).reshape(-1, HASH_BYTES)
        return cls(sound, pictures)


def fingerprint(power: np.ndarray, pictures: np.ndarray) -> Fingerprint:
    """The fingerprint of a clip.

    Args:
        power: (frames, 257), see `avsep.cleaning.spectrum.power_spectra`.
        pictures: (count, 32, 32) uint8, grey, spread over the clip.
    """
    some = np.linspace(0, len(pictures) - 1, min(len(pictures), MAX_PICTURES)).round().astype(int)
    return Fingerprint(describe_sound(power), hash_pictures(pictures[some]))


def describe_sound(power: np.ndarray) -> np.ndarray:
    """How the energy of the bands moves, (24, 12) int8; zeros for clips below 2 s.

    Level and frequency response drop out, as each band is seen relative to its own mean; half of
    what all bands do together is taken off, since pauses are alike in any two sentences.
    """
    out = np.zeros((MAX_STEPS, NUM_BANDS), np.int8)
    frames_a_step = STEP_S * RATE_HZ / HOP
    # Whole steps: in a part of one all clips of that length would fall silent together.
    steps = min(MAX_STEPS, int(len(power) / frames_a_step + 0.1))
    if steps < MIN_STEPS:
        return out
    bands = np.add.reduceat(power, _EDGES, axis=1)[:, :NUM_BANDS].astype(np.float64)
    until = np.vstack([np.zeros((1, NUM_BANDS)), np.cumsum(bands, axis=0)])
    at = np.arange(steps + 1) * frames_a_step
    places = np.arange(len(until))
    sums = np.stack([np.interp(at, places, column) for column in until.T], axis=1)
    energy = np.diff(sums, axis=0)
    levels = np.log(energy + _FLOOR * energy.mean(axis=0) + 1e-20)
    levels -= levels.mean(axis=0)
    levels -= levels.mean(axis=1, keepdims=True) / 2
    out[:steps] = np.clip(np.rint(_SCALE * levels), -127, 127)
    return out


def hash_pictures(pictures: np.ndarray) -> np.ndarray:
    """64 bits of each picture, (count, 8) uint8: which of its coarse waves are above the median.

    Args:
        pictures: (count, 32, 32) uint8.
    """
    from scipy.fft import dctn

    if not len(pictures):
        return np.zeros((0, HASH_BYTES), np.uint8)
    waves = dctn(pictures.astype(np.float32), axes=(1, 2), norm="ortho")
    coarse = waves[:, :8, :8].reshape(len(pictures), 64)
    return np.packbits(coarse > np.median(coarse, axis=1, keepdims=True), axis=1)


def picture_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean number of differing bits of 64, each picture with the most alike of the other clip.

    Encoders place key pictures elsewhere, so that the n-th pictures may be of other moments. 64
    where a clip has no pictures.

    Args:
        one: (count, 8) uint8.
        other: likewise.
    """
    if not len(one) or not len(other):
        return 64.0
    bits = np.unpackbits(one[:, None] ^ other[None], axis=2).sum(axis=2)
    return float((bits.min(axis=0).mean() + bits.min(axis=1).mean()) / 2)
