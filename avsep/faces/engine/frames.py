"""Frames of any sizes in one tensor, and squares and smaller pictures sampled from them.

All arithmetic is per picture, so what is sampled from one frame does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

FIXED_POINT = 2048  # steps of OpenCV's weights


class PackedFrames:
    """Frames of any sizes, one after the other in one tensor on the device.

    Args:
        frames: pictures (H, W, 3) uint8 RGB.
        device: name of the device in PyTorch.
    """

    def __init__(self, frames: Sequence[np.ndarray], device: str) -> None:
        flat = np.concatenate([frame.reshape(-1) for frame in frames])
        self.device = device
        self.shapes = [frame.shape[:2] for frame in frames]
        self._pixels = torch.from_numpy(flat).to(device)
        sizes = [height * width for height, width in self.shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def frame(self, number: int) -> torch.Tensor:
        """One frame, (H, W, 3) uint8."""
        first, stop = 3 * self._starts[number], 3 * self._starts[number + 1]
        return self._pixels[first:stop].view(*self.shapes[number], 3)

    def squares(
        self, numbers: Sequence[int], matrices: np.ndarray, size: int, *, replicate: bool
    ) -> torch.Tensor:
        """Squares sampled bilinearly, (N, 3, size, size) float32 of whole numbers 0..255.

        Args:
            numbers: number of the frame of each square.
            matrices: (N, 2, 3) from pixels of the square to pixels of the frame.
            size: side of the squares, in pixels.
            replicate: whether the pixels of the edge continue outside the frame; else it is black.
        """
        matrix = torch.as_tensor(matrices, dtype=torch.float32, device=self.device)
        shapes = torch.tensor([self.shapes[n] for n in numbers], device=self.device)
        starts = torch.as_tensor(self._starts[list(numbers)], device=self.device)
        line = torch.arange(size, dtype=torch.float32, device=self.device)
        u, v = line[None, None, :], line[None, :, None]
        place = [
            matrix[:, axis, 0, None, None] * u
            + matrix[:, axis, 1, None, None] * v
            + matrix[:, axis, 2, None, None]
            for axis in (0, 1)
        ]
        whole = [axis.floor() for axis in place]
        share = [(axis - low)[..., None] for axis, low in zip(place, whole, strict=True)]
        x, y = (low.long() for low in whole)
        height, width = shapes[:, 0, None, None], shapes[:, 1, None, None]
        first = starts[:, None, None]
        pixels = self._pixels.view(-1, 3)

        def at(dx: int, dy: int) -> torch.Tensor:
            column = torch.minimum((x + dx).clamp(min=0), width - 1)
            row = torch.minimum((y + dy).clamp(min=0), height - 1)
            found = pixels[first + row * width + column].float()
            if not replicate:
                found *= ((column == x + dx) & (row == y + dy))[..., None]
            return found

        above = torch.lerp(at(0, 0), at(1, 0), share[0])
        below = torch.lerp(at(0, 1), at(1, 1), share[0])
        return torch.lerp(above, below, share[1]).round().permute(0, 3, 1, 2)

    def resized(self, numbers: Sequence[int], windows: np.ndarray, size: int) -> torch.Tensor:
        """Windows resized to squares, with the bytes of OpenCV's INTER_LINEAR.

        Args:
            numbers: number of the frame of each window.
            windows: (N, 2, 2) in x and y, the first and the last pixel; black outside the frame.
            size: side of the squares, in pixels.

        Returns:
            (N, 3, size, size) float32 of whole numbers 0..255.
        """
        window = torch.as_tensor(windows, device=self.device).long()
        shapes = torch.tensor([self.shapes[n] for n in numbers], device=self.device)
        starts = torch.as_tensor(self._starts[list(numbers)], device=self.device)
        first, count = window[..., 0], window[..., 1] - window[..., 0] + 1
        line = torch.arange(size, dtype=torch.float64, device=self.device)
        place = ((line + 0.5) * (1 / (size / count[..., None])) - 0.5).float()
        low = place.floor()
        share = place - low
        # OpenCV leaves the weights of rows beyond the edge as they are, and not those of columns.
        within = (low[:, 0] >= 0) & (low[:, 0] < count[:, :1] - 1)
        share[:, 0] *= within
        weights = (torch.stack([1 - share, share]) * FIXED_POINT).round().int()
        ends = torch.stack([low, low + 1]).long().clamp(min=0).minimum(count[..., None] - 1)
        columns, rows = (ends + first[..., None]).unbind(2)  # each (2, N, size)
        height, width = shapes[:, :1], shapes[:, 1:]
        pixels = self._pixels.view(-1, 3)

        def along(row: torch.Tensor) -> torch.Tensor:
            """Rows of the frames, resized along x: (N, size, size, 3)."""
            total = torch.zeros(1, dtype=torch.int32, device=self.device)
            for column, weight in zip(columns, weights[:, :, 0], strict=True):
                seen = ((row >= 0) & (row < height))[:, :, None]
                seen = seen & ((column >= 0) & (column < width))[:, None]
                y = row.clamp(min=0).minimum(height - 1)[:, :, None]
                x = column.clamp(min=0).minimum(width - 1)[:, None]
                found = pixels[starts[:, None, None] + y * width[..., None] + x].int()
                total = total + found * seen[..., None] * weight[:, None, :, None]
            return total

        upper, lower = (
            (weight[:, :, None, None] * (along(row) >> 4)) >> 16
            for row, weight in zip(rows, weights[:, :, 1], strict=True)
        )
        return ((upper + lower + 2) >> 2).permute(0, 3, 1, 2).float()

    def shrunk(self, number: int, width: int, height: int) -> torch.Tensor:
        """A frame shrunk by area, (3, height, width) float32 of whole numbers 0..255."""
        frame = self.frame(number).float()
        rows, columns = frame.shape[:2]
        down = _area_weights(rows, height, self.device) @ frame.reshape(rows, -1)
        down = down.view(height, columns, 3).permute(2, 0, 1)
        return (down @ _area_weights(columns, width, self.device).T).round()


@lru_cache(maxsize=32)
def _area_weights(length: int, shorter: int, device: str) -> torch.Tensor:
    """(shorter, length) share of each pixel in each pixel of a shorter line."""
    step = length / shorter
    low = torch.arange(shorter, dtype=torch.float64)[:, None] * step
    pixel = torch.arange(length, dtype=torch.float64)[None]
    common = torch.minimum(low + step, pixel + 1) - torch.maximum(low, pixel)
    return (common.clamp(min=0) / step).float().to(device)
