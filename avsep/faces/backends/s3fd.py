"""Turn the outputs of the detector S3FD into boxes, for all positions at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MIN_SCORE = 0.5
MAX_IOU = 0.3  # boxes that overlap more show the same face
MEAN_BGR = (104.0, 117.0, 123.0)
FIRST_STRIDE = 4  # pixels; doubles from one output to the next
ANCHOR_STRIDES = 4  # side of an anchor, in strides
VARIANCES = (0.1, 0.2)  # scales of the regressed centre and size


def network_input(frame: np.ndarray, device: str) -> torch.Tensor:
    """A frame (H, W, 3) uint8 RGB as (1, 3, H, W) float32 BGR without its mean."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(frame[:, :, ::-1])).to(device)
    tensor = tensor.permute(2, 0, 1)[None].float()
    return tensor - torch.tensor(MEAN_BGR, device=device).view(1, 3, 1, 1)


def boxes(outputs: Sequence[torch.Tensor]) -> np.ndarray:
    """The faces in one frame.

    Args:
        outputs: classes (1, 2, h, w) and offsets (1, 4, h, w) alternately, from fine to coarse.

    Returns:
        (N, 5) float64: left, top, right, bottom in pixels and score; best score first.
    """
    import torch

    rows = []
    for level in range(len(outputs) // 2):
        stride = FIRST_STRIDE * 2**level
        anchor = ANCHOR_STRIDES * stride
        score = torch.softmax(outputs[2 * level][0].float(), dim=0)[1]
        y, x = torch.nonzero(score > MIN_SCORE, as_tuple=True)
        offset = outputs[2 * level + 1][0].float()[:, y, x]
        centre = torch.stack([x, y]) * stride + stride / 2 + offset[:2] * VARIANCES[0] * anchor
        size = anchor * torch.exp(offset[2:] * VARIANCES[1])
        rows.append(torch.cat([centre - size / 2, centre + size / 2, score[None, y, x]]).T)
    found = torch.cat(rows).cpu().double().numpy()
    return suppress(found[np.argsort(-found[:, 4], kind="stable")])


def suppress(found: np.ndarray) -> np.ndarray:
    """The boxes (N, 5), best first, without those that overlap a better one too much.

    As in the package, the last pixel of a box lies within it.
    """
    kept = []
    while len(found):
        best, found = found[0], found[1:]
        kept.append(best)
        low, high = np.maximum(found[:, :2], best[:2]), np.minimum(found[:, 2:4], best[2:4])
        common = np.clip(high - low + 1, 0, None).prod(axis=1)
        area = (found[:, 2:4] - found[:, :2] + 1).prod(axis=1)
        union = area + (best[2:4] - best[:2] + 1).prod() - common
        found = found[common <= MAX_IOU * union]
    return np.array(kept).reshape(-1, 5)
