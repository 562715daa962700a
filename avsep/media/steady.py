"""Take the jitter out of the time stamps of sound, and leave its gaps and its drift.

Network recorders stamp a packet when it arrives, early or late by up to its own length. Samples of
a stream follow each other, whatever the stamps of single packets say; only a difference that lasts
is a gap, a loss or the drift of a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

# Some containers round time stamps to milliseconds. Up to this difference, samples simply follow
# each other; above it, there is a gap or an overlap.
JITTER_S = 0.010
_AHEAD = 24  # blocks that are looked at to tell a step from jitter
_AT_FIRST = 64  # the same for the first stamp, which everything hangs on
_NOISY_S = 0.002  # spread of the stamps from which on no single one is believed
_ROUNDING_S = 0.001  # of stamps in containers of milliseconds
_LONGEST_PACKET_S = 0.065  # of coded sound; longer blocks are not packets of a network
_FEW = 4  # blocks at the end of the sound that are too few to tell

Block = tuple[float, int, np.ndarray]


def steadied(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks of sound with stamps that follow each other.

    Args:
        blocks: time in seconds, rate in Hz and samples of each block, in order.
    """
    waiting: deque[tuple[float, Block]] = deque()  # with the offset of its stamp, in seconds
    taken_s = 0.0
    offset_s: float | None = None
    placed_s = 0.0
    for block in blocks:
        waiting.append((block[0] - taken_s, block))
        taken_s += len(block[2]) / block[1]
        if len(waiting) < _AT_FIRST:
            continue
        offset_s, placed_s, ready = _next(waiting, offset_s, placed_s)
        yield ready
    while waiting:
        offset_s, placed_s, ready = _next(waiting, offset_s, placed_s)
        yield ready


def _next(
    waiting: deque[tuple[float, Block]], offset_s: float | None, placed_s: float
) -> tuple[float, float, Block]:
    """Take the first block; returns the offset in force, the time that is placed, the block."""
    offsets_s = np.array([offset for offset, _ in waiting])
    _, (_, rate_hz, samples) = waiting.popleft()
    length_s = len(samples) / rate_hz
    packet_s = min(length_s, _LONGEST_PACKET_S)
    # A jump of several packets is a gap for certain: what follows says nothing of this block.
    gaps = np.flatnonzero(np.abs(np.diff(offsets_s)) > max(2 * packet_s, 4 * JITTER_S))
    if len(gaps):
        offsets_s = offsets_s[: gaps[0] + 1]
    if offset_s is None:
        offset_s = _first_offset(offsets_s)
    else:
        offset_s += _step(offsets_s[:_AHEAD] - offset_s, packet_s, _noise(offsets_s))
    return offset_s, placed_s + length_s, (placed_s + offset_s, rate_hz, samples)


def _first_offset(offsets_s: np.ndarray) -> float:
    noisy = _noise(offsets_s) > _NOISY_S
    middle_s = float(np.median(offsets_s[: _AHEAD if noisy else _FEW + 1]))
    if len(offsets_s) >= _FEW and (noisy or abs(offsets_s[0] - middle_s) > JITTER_S):
        return middle_s
    return float(offsets_s[0])


def _noise(offsets_s: np.ndarray) -> float:
    """Standard deviation of the stamps, from the median difference of neighbours."""
    if len(offsets_s) < _FEW:
        return 0.0
    return 1.05 * float(np.median(np.abs(np.diff(offsets_s))))


def _step(apart_s: np.ndarray, length_s: float, noise_s: float) -> float:
    """How far the sound moves before this block; 0 where its stamp only jitters.

    Args:
        apart_s: how far the stamps of this block and of the next ones are from where they follow
            the sound so far, in seconds.
        length_s: length of a block.
        noise_s: standard deviation of the stamps.
    """
    count = len(apart_s)
    if count < _FEW:
        return float(apart_s[0]) if np.abs(apart_s).min() > max(length_s, JITTER_S) else 0.0
    middle_s = float(np.median(apart_s))
    if noise_s <= _NOISY_S:
        if abs(apart_s[0]) <= JITTER_S or abs(middle_s) <= JITTER_S:
            return 0.0
        step_s = float(apart_s[0]) if abs(apart_s[0] - middle_s) <= JITTER_S else middle_s
        return _whole(step_s, length_s, _ROUNDING_S)
    mean_s = float(apart_s.mean())
    error_s = noise_s / np.sqrt(count)
    if abs(mean_s) <= max(JITTER_S, 5 * error_s):
        return 0.0
    # Where one step explains the stamps best: here, or only before a later block?
    rest_s = np.cumsum(apart_s[::-1])[::-1]
    if int(np.argmax(rest_s**2 / np.arange(count, 0, -1))) != 0:
        return 0.0
    return _whole(mean_s, length_s, 4 * error_s)


def _whole(step_s: float, length_s: float, error_s: float) -> float:
    """The step, or the number of whole packets that it is within its error: so they are lost."""
    whole_s = round(step_s / length_s) * length_s
    return whole_s if whole_s and abs(step_s - whole_s) <= error_s else step_s
