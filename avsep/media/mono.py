"""Mix the channels of a sound to one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.media.container import PacketCount
from avsep.media.streams import open_audio

if TYPE_CHECKING:
    import av

# Weights of the channels in the mono sum, before they are scaled to add up to one.
_CHANNEL_WEIGHTS = {"FC": 1.0, "LFE": 0.0, "FL": 0.7071, "FR": 0.7071}
_OTHER_CHANNEL_WEIGHT = 0.5

_WINDOW_S = 0.5  # over which the channels are compared
# The power of the sum over that of unrelated channels, below which they cancel: a correlation of
# -0.8 between two equally loud ones.
_CANCELLED_BELOW = 0.2
_CANCELLED_SHARE = 0.2  # share of the sound's energy that must be lost to change the mix
_EQUALLY_LOUD = 1.1  # ratio of the energies of two channels up to which the first is taken
_CENTRE_SHARE = 0.01  # share of the centre's energy, from which on it carries the speech
_KEPT = 64  # files whose answer a process remembers


def mix_to_mono(frame: av.AudioFrame, only: int | None = None) -> np.ndarray:
    """The weighted mean of the channels, (samples,) float32 in -1..1.

    Args:
        frame: decoded sound.
        only: number of the channel to take alone; see `single_channel`.
    """
    names, samples = _channels(frame)
    if only is not None and only < len(names):
        return samples[only]
    if len(names) == 1:
        return samples[0]
    if len(names) == 2:
        return (samples[0] + samples[1]) * np.float32(0.5)
    return _weights(names) @ samples


def single_channel(path: Path) -> int | None:
    """The number of the channel to take alone where the mono sum cancels; None where it does not.

    Microphones with swapped wires, and some players, give the same sound in opposite phase. Half a
    second at a time is compared, so that a part of a recording is found as well; and its first
    differences too, in which consonants count as much as vowels, so that a band is found.

    Raises:
        ItemError: the file cannot be opened or has no sound.
    """
    status = path.stat()
    return _single_channel(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_KEPT)
def _single_channel(path: Path, mtime_ns: int, size: int) -> int | None:
    # Energy per window, of the sound and of its differences.
    sums: list[np.ndarray] = []  # (2,), of the mono sum
    parts: list[np.ndarray] = []  # (2, channels), of each channel with its weight
    names: list[str] = []
    filled = 0.0
    with open_audio(path) as track:
        if track.stream.codec_context.channels < 2:
            return None
        for _, frame in track.frames(PacketCount()):
            found, samples = _channels(frame)
            if len(found) < 2 or (names and found != names):
                return None
            names = names or found
            weights = _weights(names)[:, None]
            weighted = samples.astype(np.float64) * weights
            if not sums or filled >= _WINDOW_S:
                sums.append(np.zeros(2))
                parts.append(np.zeros((2, len(names))))
                filled = 0.0
            for kind, values in enumerate((weighted, np.diff(weighted, axis=1))):
                sums[-1][kind] += (values.sum(axis=0) ** 2).sum()
                parts[-1][kind] += (values**2).sum(axis=1)
            filled += samples.shape[1] / frame.sample_rate
    for kind in range(2 if sums else 0):
        mono, energy = np.stack(sums)[:, kind], np.stack(parts)[:, kind]
        total = energy.sum()
        if "FC" in names and energy[:, names.index("FC")].sum() > _CENTRE_SHARE * total:
            return None
        lost = mono < _CANCELLED_BELOW * energy.sum(axis=1)
        if energy[lost].sum() > _CANCELLED_SHARE * total:
            by_channel = energy[lost].sum(axis=0)
            return int(np.argmax(by_channel > by_channel.max() / _EQUALLY_LOUD))  # first of equals
    return None


def _channels(frame: av.AudioFrame) -> tuple[list[str], np.ndarray]:
    """Names of the channels, and (channels, samples) float32."""
    values = frame.to_ndarray()
    names = [channel.name for channel in frame.layout.channels]
    if not frame.format.is_planar:
        values = values.reshape(-1, len(names)).T
    return names, _as_float(values)


def _weights(names: list[str]) -> np.ndarray:
    weights = np.array([_CHANNEL_WEIGHTS.get(n, _OTHER_CHANNEL_WEIGHT) for n in names], np.float32)
    return weights / weights.sum()


def _as_float(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.integer):
        return (values / np.float64(-np.iinfo(values.dtype).min)).astype(np.float32)
    # A damaged float stream can contain anything; FFmpeg also clips when it converts to integers.
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
