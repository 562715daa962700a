"""Sounds and pictures as data URIs, small enough to be part of the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np

from avsep.errors import CheckError
from avsep.media.pcm import decode_wav, encode_flac

WINDOW, HOP = 512, 128  # of the spectrograms, in samples
RANGE_DB = 70.0  # range of levels in a spectrogram
COLOURS = 64  # number of colours in a spectrogram
MAX_SOUND_BYTES = 8 << 20


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a data URI of media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def read_wav(path: Path) -> np.ndarray:
    """The samples of a WAV file, (N,) int16 at 16 kHz.

    Raises:
        CheckError: the file is missing, damaged, too large, or not 16 kHz mono 16 bit.
    """
    try:
        if path.stat().st_size > MAX_SOUND_BYTES:
            raise CheckError(f"{path} is larger than {MAX_SOUND_BYTES} bytes.")
        return decode_wav(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing; run `evaluate` again.") from error
    except ValueError as error:
        raise CheckError(f"{path} is damaged: {error}") from error


def sound_uri(path: Path) -> str:
    """A WAV file as a data URI: as FLAC, half the size, if soundfile is installed."""
    samples = read_wav(path)
    try:
        return data_uri(encode_flac(samples), "audio/flac")
    except ImportError:
        return data_uri(path.read_bytes(), "audio/wav")


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """The level over time and frequency in dB, low frequencies first.

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
    """The spectrogram of a WAV file as a PNG data URI.

    Args:
        path: the WAV file.
        reference: the WAV file whose loudest point is the top of the colour range. One reference
            for all sounds of an example makes their pictures comparable.
    """
    import matplotlib

    top = float(spectrogram(read_wav(reference)).max())
    levels = spectrogram(read_wav(path))
    shares = np.clip((levels - top + RANGE_DB) / RANGE_DB, 0, 1)
    index = np.round(shares * (COLOURS - 1)).astype(np.uint8)[::-1]
    colours = matplotlib.colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3]
    return _png_uri(index, (colours * 255).round().astype(np.uint8))


def lips_uri(path: Path) -> str:
    """A strip of lip frames as a grey PNG data URI.

    Raises:
        CheckError: the file is missing, damaged, or not a grey picture.
    """
    try:
        strip = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CheckError(f"{path} is missing or damaged: {error}.") from error
    if strip.ndim != 2 or strip.dtype != np.uint8 or strip.size > MAX_SOUND_BYTES:
        raise CheckError(f"{path} is not a grey picture but {strip.dtype} of shape {strip.shape}.")
    return _png_uri(strip, None)


def _png_uri(picture: np.ndarray, palette: np.ndarray | None) -> str:
    """A picture (height, width) uint8 as a PNG, grey or with a palette (colours, 3) uint8."""
    from PIL import Image  # installed with matplotlib

    size = (picture.shape[1], picture.shape[0])
    image = Image.frombytes("L" if palette is None else "P", size, picture.tobytes())
    if palette is not None:
        image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
