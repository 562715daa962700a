"""Encode sound at 16 kHz as FLAC, or as WAVE for machines without soundfile."""

from __future__ import annotations

import hashlib
import io
import wave
from typing import TYPE_CHECKING

import numpy as np

from avsep.schema import RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

BYTES_PER_SAMPLE = 2
MAX_SAMPLES = 4 * 3600 * RATE_HZ


def _checked(audio: NDArray[np.int16]) -> NDArray[np.int16]:
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise ValueError(
            f"audio is {audio.dtype} of shape {audio.shape}; give (samples,) int16 at 16 kHz."
        )
    return np.ascontiguousarray(audio)


def pcm_sha256(audio: NDArray[np.int16]) -> str:
    """The sha256 of the samples as little-endian int16, independent of how they are stored.

    Args:
        audio: (samples,) int16.
    """
    return hashlib.sha256(_checked(audio).astype("<i2", copy=False).tobytes()).hexdigest()


def encode_flac(audio: NDArray[np.int16]) -> bytes:
    """Encode as lossless FLAC, 16 kHz mono 16 bit; the same samples give the same bytes.

    Args:
        audio: (samples,) int16 at 16 kHz.
    """
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, _checked(audio), RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(content: bytes, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
    """The samples of a FLAC file, (samples,) int16 at 16 kHz.

    Args:
        content: the file.
        start: first sample to decode; only the FLAC frames from there on are decoded.
        count: number of samples to decode at most; None for all that follow.

    Raises:
        ValueError: the content is damaged or not 16 kHz mono 16 bit.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            kind = (sound.format, sound.subtype, sound.samplerate, sound.channels)
            if kind != ("FLAC", "PCM_16", RATE_HZ, 1):
                raise ValueError(f"the sound is {kind}; wanted FLAC, PCM_16, {RATE_HZ} Hz, mono.")
            left = max(0, sound.frames - start)
            expected = left if count is None else min(count, left)
            if expected > MAX_SAMPLES:  # a header may say anything
                raise ValueError(f"the sound has {expected} samples, more than {MAX_SAMPLES}.")
            if start and expected:
                sound.seek(start)
            samples = np.asarray(sound.read(expected, dtype="int16"))
    except soundfile.LibsndfileError as error:
        raise ValueError(f"the sound cannot be decoded: {error}") from error
    if len(samples) != expected:
        raise ValueError(f"the sound has {len(samples)} of {expected} samples.")
    return samples


def encode_wav(audio: NDArray[np.int16]) -> bytes:
    """Encode as RIFF WAVE, 16 kHz mono 16 bit.

    Args:
        audio: (samples,) int16 at 16 kHz.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(BYTES_PER_SAMPLE)
        sound.setframerate(RATE_HZ)
        sound.writeframes(_checked(audio).astype("<i2", copy=False).tobytes())
    return buffer.getvalue()


def decode_wav(content: bytes) -> NDArray[np.int16]:
    """The samples of a WAVE file, (samples,) int16 at 16 kHz.

    Raises:
        ValueError: the content is damaged or not 16 kHz mono 16 bit.
    """
    try:
        with wave.open(io.BytesIO(content), "rb") as sound:
            kind = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth())
            if kind != (RATE_HZ, 1, BYTES_PER_SAMPLE):
                raise ValueError(f"the sound is {kind}; wanted {RATE_HZ} Hz, mono, 2 bytes.")
            expected = sound.getnframes()
            samples = np.frombuffer(sound.readframes(expected), dtype="<i2")
    except (wave.Error, EOFError) as error:
        raise ValueError(f"the sound cannot be decoded: {error}") from error
    if len(samples) != expected:
        raise ValueError(f"the sound has {len(samples)} of {expected} samples.")
    return samples.astype(np.int16)
