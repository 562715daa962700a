"""Sounds and pictures as data URIs, small enough to live inside one page."""

from __future__ import annotations

import base64
import io
import wave
from pathlib import Path

import numpy as np

from avsep.errors import CheckError

WINDOW, HOP = 512, 128  # of the spectrograms, in samples
RANGE_DB = 70.0
COLOURS = 64
MAX_SOUND_BYTES = 8 << 20


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a data URI of media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """Samples, (N,) int16, and their rate, of a mono 16-bit WAV file.

    Raises:
        CheckError: missing, damaged, too large, or of another kind.
    """
    try:
        if path.stat().st_size > MAX_SOUND_BYTES:
            raise CheckError(f"{path} has more than {MAX_SOUND_BYTES} bytes.")
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise CheckError(f"{path} is no mono 16-bit sound.")
            return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing; run `evaluate` again.") from error
    except (wave.Error, EOFError) as error:
        raise CheckError(f"{path} is damaged: {error}.") from error


def sound_uri(path: Path) -> str:
    """A WAV file as a data URI: as FLAC, half the size, where soundfile is installed."""
    samples, rate_hz = read_wav(path)
    try:
        import soundfile
    except ImportError:
        return data_uri(path.read_bytes(), "audio/wav")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return data_uri(buffer.getvalue(), "audio/flac")


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Level over time and frequency in dB, low frequencies first.

    Args:
        samples: (N,) int16.

    Returns:
        (WINDOW / 4 + 1, about N / HOP) float64; two neighbouring bins share a row.
    """
    signal = np.pad(samples.astype(np.float64) / 32768, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    pairs = np.maximum(power[:, 0:-1:2], power[:, 1::2])
    return 10 * np.log10(np.concatenate([pairs, power[:, -1:]], axis=1).T + 1e-12)


def spectrogram_uri(path: Path, reference: Path) -> str:
    """A spectrogram of a WAV file as a PNG, in the colour range of a reference sound.

    Args:
        path: the sound.
        reference: the sound whose loudest point is the top of the range, so that pictures of one
            example can be compared.
    """
    import matplotlib

    top = float(spectrogram(read_wav(reference)[0]).max())
    levels = spectrogram(read_wav(path)[0])
    shares = np.clip((levels - top + RANGE_DB) / RANGE_DB, 0, 1)
    index = np.round(shares * (COLOURS - 1)).astype(np.uint8)[::-1]
    colours = matplotlib.colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3]
    return _png_uri(index, (colours * 255).round().astype(np.uint8))


def lips_uri(path: Path) -> str:
    """A strip of lip frames as a grey PNG.

    Raises:
        CheckError: missing, damaged, or no picture.
    """
    try:
        strip = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CheckError(f"{path} is missing or damaged: {error}.") from error
    if strip.ndim != 2 or strip.dtype != np.uint8 or strip.size > MAX_SOUND_BYTES:
        raise CheckError(f"{path} is no grey picture: {strip.dtype} {strip.shape}.")
    return _png_uri(strip, None)


def _png_uri(picture: np.ndarray, palette: np.ndarray | None) -> str:
    """A (height, width) uint8 picture as PNG, grey or with a (colours, 3) uint8 palette."""
    from PIL import Image  # matplotlib brings it

    size = (picture.shape[1], picture.shape[0])
    image = Image.frombytes("L" if palette is None else "P", size, picture.tobytes())
    if palette is not None:
        image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
