"""Layers on (B, T, C) sequences, a stretch of frames at a time, on a CPU without gradients.

A chain of layers that computes frame by frame reads and writes the whole sequence once per layer,
and a sequence of seconds does not fit into the cache of a core. In tiles it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor

TILE = 1024  # frames


def spans(
    length: int, halo: int, *, ratio: int = 1, times: int = 1
) -> Iterator[tuple[int, int, int, int]]:
    """Start and stop of each tile, then those of the frames that it needs, `halo` more per side.

    Tiles are `times` as long as usual. They start at multiples of `ratio`, and so do their frames
    if it divides the halo.
    """
    tile = -(-times * TILE // ratio) * ratio
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        yield start, stop, max(start - halo, 0), min(stop + halo, length)


def by_tiles(layer: Callable[..., Tensor], halo: int, *inputs: Tensor) -> Tensor:
    """`layer(*inputs)`, (B, T, C'), in tiles.

    Args:
        layer: computes each frame from the frames up to `halo` away, with zeros beyond the ends of
            what it is given, or from less.
        halo: a multiple of the ratio of each two rates.
        inputs: (B, T, C); all but the first may have fewer frames, a number that divides T.
    """
    length = inputs[0].shape[1]
    ratio = math.lcm(*(length // x.shape[1] for x in inputs if x.shape[1] > 1)) if length else 1
    out: Tensor | None = None
    for item in range(len(inputs[0])):
        for start, stop, low, high in spans(length, halo, ratio=ratio):
            parts = (
                x[item : item + 1, low * x.shape[1] // length : -(-high * x.shape[1] // length)]
                for x in inputs
            )
            part = layer(*parts)[0]
            if out is None:
                out = part.new_empty(len(inputs[0]), length, part.shape[-1])
            out[item, start:stop] = part[start - low : stop - low]
    assert out is not None
    return out
