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


def crop_matrix(x: float, y: float, side: float) -> np.ndarray:
    """(2, 3) from pixels of the network's input to pixels of the frame, for a region."""
    step = side / INPUT
    return np.array([[step, 0, x - side / 2], [0, step, y - side / 2]])


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
    """Marks (N, 68, 256, 256) at places (N, 68, 2) in heatmap cells, for the depth network."""
    import torch

    centre = torch.floor(place * (INPUT / HEATMAP)) - 1
    line = torch.arange(INPUT, device=place.device)
    away = line - centre[..., None]
    profile = torch.exp(-(away**2) / (2 * BLOB_SIGMA**2)) * (away.abs() <= BLOB_REACH)
    return profile[..., 1, :, None] * profile[..., 0, None, :]


def to_source(place: np.ndarray, depth: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """Points (N, 68, 3) float32 in source pixels.

    Args:
        place: (N, 68, 2) in heatmap cells.
        depth: (N, 68) in input pixels.
        regions: regions of the N crops.
    """
    side = np.array([region.side for region in regions])[:, None]
    corner = np.array([[r.x - r.side / 2, r.y - r.side / 2] for r in regions])[:, None]
    points = np.empty((len(regions), NUM_LANDMARKS, 3), np.float32)
    points[..., :2] = corner + place * (side / HEATMAP)[..., None]
    points[..., 2] = depth * side / INPUT
    return points


def _last(output: object) -> torch.Tensor:
    return output[-1] if isinstance(output, (list, tuple)) else output  # type: ignore[return-value]
