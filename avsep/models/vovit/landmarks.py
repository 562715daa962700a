"""Preparation of landmarks: checks, filling of gaps, smoothing.

Shapes: B items, F frames at 25 per second, V = 68 landmarks, D coordinates (3; 2 for singing).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avsep.models.vovit.registration import misfit
from avsep.schema import MISSING, TURNED

# Mirrored, shuffled or normalised points give 0.85 or more. Points without depth or a face of half
# the size give less than 0.5.
MAX_MISFIT = 0.6


def check_shape(points_BFVD: Tensor, dimensions: int) -> None:
    """Check the layout of landmarks.

    Raises:
        ValueError: the shape is not (B, F, 68, dimensions), or there is no frame.
    """
    shape = tuple(points_BFVD.shape)
    if len(shape) != 4 or shape[2:] != (68, dimensions) or shape[1] == 0:
        hint = "; move the coordinates to the last axis" if shape[-1:] == (68,) else ""
        raise ValueError(f"landmarks must be (batch, frames, 68, {dimensions}), not {shape}{hint}.")


def check_finite(points_BFVD: Tensor) -> None:
    """Check that all landmarks are finite.

    Raises:
        ValueError: a landmark is NaN or infinite; the message names the first such frame.
    """
    bad = ~points_BFVD.isfinite().flatten(2).all(-1)
    if bool(bad.any()):
        item, frame = bad.nonzero()[0].tolist()
        raise ValueError(
            f"the landmarks of item {item} are not finite at frame {frame};"
            " set lost frames to zero, or mark them by valid = 0."
        )


def check_order(points_BFV3: Tensor, mean_face_V3: Tensor) -> None:
    """Check that the points resemble a face in iBUG order after rotation.

    Lost frames (all zero) are ignored. The median over frames decides, so a few bad frames pass.

    Raises:
        ValueError: the points do not resemble a face; the message names the item and its misfit.
    """
    worst = misfit(points_BFV3, mean_face_V3)
    worst = worst.masked_fill(lost_frames(points_BFV3), torch.nan).nanmedian(dim=1).values
    for item, value in enumerate(worst.tolist()):
        if value > MAX_MISFIT:
            raise ValueError(
                f"the landmarks of item {item} do not look like a face (misfit {value:.2f}, allowed"
                f" {MAX_MISFIT}); give 68 points in iBUG order, in pixels, x right and y down."
            )


def lost_frames(points_BFVD: Tensor, valid_BF: Tensor | None = None) -> Tensor:
    """(B, F) bool: frames without exact landmarks.

    There, valid is 0 (no face) or 3 (turned too far), or the points are all zero or not finite.
    """
    flat = points_BFVD.flatten(2)
    lost = (flat == 0).all(-1) | ~flat.isfinite().all(-1)
    return lost if valid_BF is None else lost | (valid_BF == MISSING) | (valid_BF == TURNED)


def fill_gaps(points_BFVD: Tensor, lost_BF: Tensor, resting_VD: Tensor) -> Tensor:
    """Fill lost frames.

    Between two frames with a face the landmarks are interpolated linearly. Before the first and
    after the last, that frame is repeated. If no frame of an item has a face, every frame becomes
    `resting_VD`: a face that does not move, so that the model relies on the sound.

    Args:
        points_BFVD: landmarks; values in lost frames are ignored.
        lost_BF: bool, the lost frames.
        resting_VD: landmarks of a resting face.

    Returns:
        (B, F, V, D).
    """
    num_frames = points_BFVD.shape[1]
    index = torch.arange(num_frames, device=points_BFVD.device).expand_as(lost_BF)
    before = torch.where(lost_BF, -1, index).cummax(dim=1).values
    after = torch.where(lost_BF, num_frames, index).flip(1).cummin(dim=1).values.flip(1)
    # At the ends there is a frame with a face on one side only.
    first = torch.where(before < 0, after, before).clamp(max=num_frames - 1)
    last = torch.where(after >= num_frames, before, after).clamp(min=0)
    share = (index - first) / (last - first).clamp(min=1)
    share = share.clamp(0, 1)[..., None, None].to(points_BFVD.dtype)
    filled = torch.lerp(_take(points_BFVD, first), _take(points_BFVD, last), share)
    none = lost_BF.all(dim=1)[:, None, None, None]
    return torch.where(none, resting_VD.to(points_BFVD), filled)


def _take(points_BFVD: Tensor, frame_BF: Tensor) -> Tensor:
    index = frame_BF[:, :, None, None].expand_as(points_BFVD)
    return points_BFVD.gather(1, index)


def smooth(points_BFVD: Tensor) -> Tensor:
    """Centred mean over three frames; at the ends, the first and last frame count twice."""
    padded = torch.cat([points_BFVD[:, :1], points_BFVD, points_BFVD[:, -1:]], dim=1)
    return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
