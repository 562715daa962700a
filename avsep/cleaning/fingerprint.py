"""Fingerprints: a few hundred bytes per clip that survive another encoding.

The sound is described by how the energy of twelve bands changes over time, the pictures by the
signs of their coarse structure (pHash). Clips of one speaker have nearly the same pictures, a still
head in front of a still wall, so the sound decides and the pictures only confirm.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np

from avsep.cleaning.spectrum import BIN_HZ, HOP
from avsep.schema import RATE_HZ

STEP_S = 0.25  # long enough that a start some milliseconds off changes little
MAX_STEPS = 24  # the first 6 s
MIN_STEPS = 8  # fewer cannot tell two sentences apart
NUM_BANDS = 12  # 250 to 3600 Hz, which telephones and all codecs keep
SOUND_BYTES = MAX_STEPS * NUM_BANDS
HASH_BYTES = 8  # per picture
MAX_PICTURES = 8
SIDE = 32  # of the small pictures, in pixels

_EDGES = np.round(np.geomspace(250, 3600, NUM_BANDS + 1) / BIN_HZ).astype(int)
_FLOOR = 0.1  # share of a band's mean below which only noise and rounding are left
_SCALE = 30.0  # int8 steps per natural logarithm


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What the encodings of one clip have in common.

    Attributes:
        sound: (24, 12) int8, energy per step of 0.25 s and band, on a log scale around the mean of
            the band; zeros after the end of the clip.
        pictures: (count, 8) uint8, 64 bits per picture.
    """

    sound: np.ndarray
    pictures: np.ndarray

    def packed(self) -> str:
        """The fingerprint as text."""
        return base64.b64encode(self.sound.tobytes() + self.pictures.tobytes()).decode("ascii")

    @classmethod
    def unpacked(cls, text: str) -> Fingerprint | None:
        """The fingerprint in a text; None where the text is empty or damaged."""
        content = packed_bytes(text)
        return cls.of(content) if content else None

    @classmethod
    def of(cls, content: bytes) -> Fingerprint:
        """The fingerprint in the bytes that `packed_bytes` gives."""
        sound = np.frombuffer(content[:SOUND_BYTES], np.int8).reshape(MAX_STEPS, NUM_BANDS)
        pictures = np.frombuffer(content[SOUND_BYTES:], np.uint8).reshape(-1, HASH_BYTES)
        return cls(sound, pictures)


def packed_bytes(text: str) -> bytes:
    """The bytes of a fingerprint as text; none where the text is empty or damaged."""
    try:
        content = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
    whole = len(content) >= SOUND_BYTES and (len(content) - SOUND_BYTES) % HASH_BYTES == 0
    return content if whole else b""


def fingerprint(power: np.ndarray, pictures: np.ndarray) -> Fingerprint:
    """The fingerprint of a clip.

    Args:
        power: (frames, 257), see `avsep.cleaning.spectrum.power_spectra`.
        pictures: (count, 32, 32) uint8, grey, spread over the clip.
    """
    some = np.linspace(0, len(pictures) - 1, min(len(pictures), MAX_PICTURES)).round().astype(int)
    return Fingerprint(describe_sound(power), hash_pictures(pictures[some]))


def describe_sound(power: np.ndarray) -> np.ndarray:
    """How the energy of the bands changes, (24, 12) int8; zeros for clips shorter than 2 s.

    Each band is taken relative to its own mean, which removes level and frequency response. Half
    of the change that all bands share is removed, since pauses are similar in any two sentences.
    """
    out = np.zeros((MAX_STEPS, NUM_BANDS), np.int8)
    frames_per_step = STEP_S * RATE_HZ / HOP
    # Whole steps only: a last, partial step would look like a pause that all such clips share.
    steps = min(MAX_STEPS, int(len(power) / frames_per_step + 0.1))
    if steps < MIN_STEPS:
        return out
    bands = np.add.reduceat(power, _EDGES, axis=1)[:, :NUM_BANDS].astype(np.float64)
    until = np.vstack([np.zeros((1, NUM_BANDS)), np.cumsum(bands, axis=0)])
    at = np.arange(steps + 1) * frames_per_step
    places = np.arange(len(until))
    sums = np.stack([np.interp(at, places, column) for column in until.T], axis=1)
    energy = np.diff(sums, axis=0)
    levels = np.log(energy + _FLOOR * energy.mean(axis=0) + 1e-20)
    levels -= levels.mean(axis=0)
    levels -= levels.mean(axis=1, keepdims=True) / 2
    out[:steps] = np.clip(np.rint(_SCALE * levels), -127, 127)
    return out


def hash_pictures(pictures: np.ndarray) -> np.ndarray:
    """Hash pictures to 64 bits each: which coarse DCT coefficients are above the median (pHash).

    Args:
        pictures: (count, 32, 32) uint8, grey.

    Returns:
        (count, 8) uint8.
    """
    from scipy.fft import dctn

    if not len(pictures):
        return np.zeros((0, HASH_BYTES), np.uint8)
    waves = dctn(pictures.astype(np.float32), axes=(1, 2), norm="ortho")
    coarse = waves[:, :8, :8].reshape(len(pictures), 64)
    return np.packbits(coarse > np.median(coarse, axis=1, keepdims=True), axis=1)


def picture_distance(one: Fingerprint, other: Fingerprint) -> float:
    """Mean number of differing bits, 0 to 64, of pictures and their closest ones in the other clip.

    Encoders place key pictures differently, so the n-th pictures may show different moments. 64
    where a clip has no pictures.
    """
    if not len(one.pictures) or not len(other.pictures):
        return 64.0
    bits = np.unpackbits(one.pictures[:, None] ^ other.pictures[None], axis=2).sum(axis=2)
    return float((bits.min(axis=0).mean() + bits.min(axis=1).mean()) / 2)
