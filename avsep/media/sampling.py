"""Sample a few small grey pictures of a file, as cheaply as its key pictures allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsep.media.container import PacketCount, frame_time_s
from avsep.media.streams import open_video

_EARLY_S = 0.02  # how far a picture may be before its moment


def spread_times(start_s: float, end_s: float, count: int) -> list[float]:
    """The middles of `count` equal parts of a span, in seconds."""
    step_s = (end_s - start_s) / count
    return [start_s + (index + 0.5) * step_s for index in range(count)]


def sample_grey(
    path: Path, times_s: Sequence[float], key_times_s: Sequence[float], *, side: int = 32
) -> np.ndarray:
    """Small grey pictures at the given moments, or soon after.

    Where there are enough key pictures, only these are decoded, and otherwise only pictures that
    others refer to: a fraction of the work of decoding all.

    Args:
        path: path of the file.
        times_s: moments in seconds of presentation time, sorted.
        key_times_s: times of the key pictures (`MediaInfo.key_times_s`), in seconds.
        side: side of the small pictures, in pixels; each pixel is the mean of a block.

    Returns:
        (at most len(times_s), side, side) uint8, full range.

    Raises:
        ItemError: the file cannot be opened, has no video, or too much of it cannot be decoded.
    """
    inside = sum(times_s[0] <= time_s <= times_s[-1] for time_s in key_times_s)
    count = PacketCount()
    pictures: list[np.ndarray] = []
    with open_video(path) as track:
        track.stream.codec_context.skip_frame = "NONKEY" if inside >= len(times_s) else "NONREF"
        for _, frame in track.frames(count):
            time_s = frame_time_s(frame)
            if time_s is None or time_s < times_s[len(pictures)] - _EARLY_S:
                continue
            small = frame.reformat(width=side, height=side, format="gray", interpolation="AREA")
            pictures.append(small.to_ndarray())
            if len(pictures) == len(times_s):
                return np.stack(pictures)
    count.check("video")
    return np.stack(pictures) if pictures else np.zeros((0, side, side), np.uint8)
