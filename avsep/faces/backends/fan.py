"""Inputs and outputs of the Face Alignment Network in batches: heatmaps, places, depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from avsep.faces.backends import Region
from avsep.schema import NUM_LANDMARKS

if TYPE_CHECKING:
    import torch

INPUT = 256  # side of the network's input, in pixels
HEATMAP = 64  # side of its heatmaps
QUARTER = 0.25  # heatmap cells that a peak is moved towards its higher neighbour
BLOB_SIGMA, BLOB_REACH = 3.25, 6  # of the marks that the depth network sees, in input pixels


def crop_windows(regions: np.ndarray) -> np.ndarray:
    """The windows of whole pixels that the package resizes for regions.

    Args:
        regions: (N, 3) x and y of the centre, and side.

    Returns:
        (N, 2, 2) float64: in x and y, the first and the last pixel of the frame.
    """
    side = regions[:, 2:3]
    corner = regions[:, :2] - side / 2
    first = np.trunc(corner + side / INPUT)
    return np.stack([first, np.maximum(np.trunc(corner + side) - 1, first)], axis=-1)


def heatmaps(
    network: Callable[[torch.Tensor], object],
    mirror: Callable[[torch.Tensor], torch.Tensor] | None,
    inputs: torch.Tensor,
) -> torch.Tensor:
    """Heatmaps (N, 68, 64, 64) of inputs (N, 3, 256, 256) in 0..1.

    Args:
        network: gives heatmaps, or a list of heatmaps, of which the last is used.
        mirror: turns heatmaps of a mirrored face back; None skips the mirrored pass.
        inputs: (N, 3, 256, 256) RGB in 0..1.
    """
    result = _last(network(inputs)).float()
    if mirror is not None:
        result = (result + mirror(_last(network(inputs.flip(-1))).float())) / 2
    return result


def peaks(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The peaks of heatmaps (N, 68, 64, 64).

    Returns:
        The places (N, 68, 2) float32: x and y in heatmap cells, the first cell from 0 to 1; and the
        heights (N, 68) float32.
    """
    import torch

    count, points, height, width = maps.shape
    score, index = maps.reshape(count, points, -1).max(dim=-1)
    y, x = index // width, index % width
    place = torch.stack([x, y], dim=-1).float() + 0.5
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    flat = maps.reshape(count, points, -1)
    for axis, stride in ((0, 1), (1, width)):
        after = flat.gather(-1, (index + stride).clamp(max=height * width - 1)[..., None])
        before = flat.gather(-1, (index - stride).clamp(min=0)[..., None])
        place[..., axis] += QUARTER * torch.sign(after - before)[..., 0] * inside
    return place, score


def blobs(place: torch.Tensor) -> torch.Tensor:
    """Marks (N, 68, 256, 256) at places (N, 68, 2) in heatmap cells, for the depth network.

    Near the first row and column, marks are shifted as those of the package are.
    """
    import torch

    first = torch.floor(place * (INPUT / HEATMAP))[..., None] - BLOB_REACH
    line = torch.arange(INPUT, device=place.device)
    away = line - BLOB_REACH - first.clamp(min=1) + (-first).clamp(min=1)
    inside = (away >= -BLOB_REACH) & (line < first + 2 * BLOB_REACH)
    profile = torch.exp(-(away**2) / (2 * BLOB_SIGMA**2)) * inside
    return profile[..., 1, :, None] * profile[..., 0, None, :]


def to_source(
    place: np.ndarray, depth: np.ndarray, regions: Sequence[Region], *, whole: bool
) -> np.ndarray:
    """Points (N, 68, 3) float32 in source pixels.

    Args:
        place: (N, 68, 2) in heatmap cells.
        depth: (N, 68) in input pixels.
        regions: regions of the N crops.
        whole: whether x and y are cut to whole pixels, as the package cuts them.
    """
    side = np.array([region.side for region in regions])[:, None]
    corner = np.array([[r.x - r.side / 2, r.y - r.side / 2] for r in regions])[:, None]
    points = np.empty((len(regions), NUM_LANDMARKS, 3), np.float32)
    inside = corner + place * (side / HEATMAP)[..., None]
    points[..., :2] = np.trunc(inside) if whole else inside
    points[..., 2] = depth * side / INPUT
    return points


def _last(output: object) -> torch.Tensor:
    return output[-1] if isinstance(output, (list, tuple)) else output  # type: ignore[return-value]
