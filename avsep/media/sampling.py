"""A few small grey pictures of a file, decoded as cheaply as its key pictures allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.media.container import (
    PacketCount,
    decode_packet,
    frame_time_s,
    open_local,
    packets,
    video_stream,
)

_EARLY_S = 0.02  # how much before its moment a picture may be


def spread_times(start_s: float, end_s: float, count: int) -> list[float]:
    """`count` moments in the middles of equal parts of a span, in seconds."""
    step_s = (end_s - start_s) / count
    return [start_s + (index + 0.5) * step_s for index in range(count)]


def sample_grey(
    path: Path, times_s: Sequence[float], key_times_s: Sequence[float], *, side: int = 32
) -> np.ndarray:
    """Small grey pictures at, or soon after, the moments asked for.

    Only key pictures are decoded where there are enough of them, else only pictures that others
    refer to: that is a fraction of the work of decoding all.

    Args:
        path: of the file.
        times_s: sorted, in seconds of presentation time.
        key_times_s: when the key pictures show (`MediaInfo.key_times_s`).
        side: of the small pictures, in pixels; each of theirs is the mean of a block.

    Returns:
        (at most len(times_s), side, side) uint8, full range.

    Raises:
        ItemError: cannot be opened, no pictures, or too many that do not decode.
    """
    inside = sum(times_s[0] <= time_s <= times_s[-1] for time_s in key_times_s)
    count = PacketCount()
    pictures: list[np.ndarray] = []
    with open_local(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise ItemError(Reason.NO_VIDEO, "it has no pictures.")
        stream.codec_context.skip_frame = "NONKEY" if inside >= len(times_s) else "NONREF"
        for packet in packets(container, [stream]):
            for frame in decode_packet(packet, count):
                time_s = frame_time_s(frame)
                if time_s is None or time_s < times_s[len(pictures)] - _EARLY_S:
                    continue
                small = frame.reformat(  # type: ignore[union-attr]
                    width=side, height=side, format="gray", interpolation="AREA"
                )
                pictures.append(small.to_ndarray())
                if len(pictures) == len(times_s):
                    return np.stack(pictures)
    count.check("picture")
    return np.stack(pictures) if pictures else np.zeros((0, side, side), np.uint8)
