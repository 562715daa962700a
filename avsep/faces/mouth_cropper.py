"""The mouth crops of one track, made while its frames arrive.

A crop needs the landmarks of some later frames, to smooth them and to bridge gaps. Until these are
known, grey pictures wait here: only a few dozen at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avsep.faces.config import FacesConfig
from avsep.faces.crops import GreyCrop
from avsep.faces.geometry import (
    ENDLESS,
    analysis_affine,
    analysis_squares,
    compose,
    face_boxes,
    to_analysis,
    window_mean,
)
from avsep.faces.mouth import crop_corners, cut_mouth, mean_face_transforms

BLOCK = 32  # frames per block


@dataclass(frozen=True, eq=False)
class Block:
    """Finished frames of a track; see `avsep.schema.Landmarks` for the fields.

    Attributes:
        points: (n, 68, 3) float16, in the analysis frame.
        squares: (n, 3) float32, the analysis squares in source pixels: left, top, side.
        to_mean_face: (n, 2, 3) float32.
        crop_xy: (n, 2) float32.
        lips: (n, 96, 96) uint8.
    """

    points: np.ndarray
    squares: np.ndarray
    to_mean_face: np.ndarray
    crop_xy: np.ndarray
    lips: np.ndarray

    def __len__(self) -> int:
        return len(self.lips)


class MouthCropper:
    """Takes one grey picture per frame; gives blocks of mouth crops and analysis-frame landmarks.

    Args:
        config: settings with the windows of the smoothing.
        on_block: called with each finished block; None keeps the blocks until `finish`.
        block: number of frames per block.
    """

    def __init__(
        self,
        config: FacesConfig,
        on_block: Callable[[Block], None] | None = None,
        block: int = BLOCK,
    ) -> None:
        self._box_window = config.box_window
        self._mouth_window = config.mouth_window
        self._pending: deque[GreyCrop] = deque()
        self._blocks: list[Block] = []
        self._on_block = on_block or self._blocks.append
        self._block = block
        self._done = 0

    @property
    def oldest_needed(self) -> int:
        """First frame whose landmarks are still needed."""
        return max(0, self._done - self._mouth_window - self._box_window)

    def push(self, crop: GreyCrop) -> None:
        """Add the picture of the next frame."""
        self._pending.append(crop)

    def advance(self, points: np.ndarray, base: int = 0) -> None:
        """Make the blocks of which all landmarks, and those around them, are known.

        Args:
            points: (known - base, 68, 3) landmarks in source pixels.
            base: number of the frame in `points[0]`, at most `oldest_needed`.
        """
        ready = base + len(points) - self._box_window - self._mouth_window
        while ready - self._done >= self._block:
            self._make(points, base, self._done + self._block, ENDLESS)

    def finish(self, points: np.ndarray, base: int = 0) -> Block | None:
        """Make the rest of the track and return the whole; None where blocks go to `on_block`.

        Args:
            points: (T - base, 68, 3), T from 1 to the number of added pictures.
            base: number of the frame in `points[0]`, at most `oldest_needed`.
        """
        total = base + len(points)
        while self._done < total:
            self._make(points, base, min(self._done + self._block, total), total)
        self._pending.clear()
        if not self._blocks:
            return None
        names = Block.__dataclass_fields__
        return Block(**{n: np.concatenate([getattr(b, n) for b in self._blocks]) for n in names})

    def _make(self, points: np.ndarray, base: int, stop: int, total: int) -> None:
        start = self._done
        low = max(0, start - self._mouth_window)
        high = min(stop + self._mouth_window, total)
        first = max(0, low - self._box_window)
        raw = face_boxes(points[first - base : min(high + self._box_window, total) - base])
        boxes = window_mean(raw, self._box_window, start=low, stop=high, first=first, total=total)
        squares = analysis_squares(boxes)
        # Rounded first, so that the crops are made from the landmarks as they are stored.
        analysis = to_analysis(points[low - base : high - base], squares).astype(np.float16)
        to_mean = mean_face_transforms(
            analysis, self._mouth_window, start=start, stop=stop, first=low, total=total
        )
        own = slice(start - low, stop - low)
        corners = crop_corners(analysis[own], to_mean)
        from_source = compose(to_mean.astype(np.float64), analysis_affine(squares[own]))
        crops = [self._pending.popleft() for _ in range(stop - start)]
        lips = [cut_mouth(*item) for item in zip(crops, from_source, corners, strict=True)]
        self._done = stop
        self._on_block(Block(analysis[own], squares[own], to_mean, corners, np.stack(lips)))
