"""Rigid registration of 3-D landmarks to a mean face, and the mean face itself.

Shapes: V = 68 landmarks in iBUG order; any leading axes before (V, 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avsep.models.full_precision import full_precision

NUM_RIGID = 48  # jaw, brows, nose and eyes: all but the mouth


def register(points_V3: Tensor, mean_face_V3: Tensor) -> Tensor:
    """Rotate and shift every frame so that its rigid points fit the mean face (Kabsch).

    Faces are not scaled: their size in pixels matters to the model. Computed as one batched
    decomposition in float32 or float64.

    Args:
        points_V3: (..., 68, 3) pixels.
        mean_face_V3: (68, 3) pixels.

    Returns:
        (..., 68, 3), float32 (float64 for float64 points).
    """
    with full_precision(points_V3):
        points = points_V3 if points_V3.dtype == torch.float64 else points_V3.float()
        face = mean_face_V3.to(points)
        center = points[..., :NUM_RIGID, :].mean(-2, keepdim=True)
        face_center = face[:NUM_RIGID].mean(-2, keepdim=True)
        covariance = (points[..., :NUM_RIGID, :] - center).transpose(-1, -2) @ (
            face[:NUM_RIGID] - face_center
        )
        u, _, v_transposed = torch.linalg.svd(covariance)
        # If a reflection fits better than any rotation, flip the weakest axis.
        sign = torch.linalg.det(u) * torch.linalg.det(v_transposed)
        one = torch.ones_like(sign)
        flip = torch.stack([one, one, torch.where(sign < 0, -one, one)], dim=-1)
        # Points are rows, so the transposed rotation multiplies from the right.
        rotation_transposed = (u * flip[..., None, :]) @ v_transposed
        return (points - center) @ rotation_transposed + face_center


def mean_face(
    points_MV3: Tensor,
    valid_M: Tensor | None = None,
    *,
    tolerance_px: float = 1e-4,
    max_rounds: int = 100,
) -> Tensor:
    """The mean face of many frames, in pixels (generalised Procrustes analysis without scaling).

    Starts from the mean of the points, then repeatedly registers all frames to the mean and takes
    the mean again. Position and rotation are those of the first mean. Deterministic.

    Args:
        points_MV3: (M, 68, 3) frames of any number of people.
        valid_M: (M,) as in `Landmarks.valid`; only frames with 1 (detected) are used. None for all.
        tolerance_px: stop when no point moves by more than this.
        max_rounds: limit of the repetitions.

    Returns:
        (68, 3) float32.

    Raises:
        ValueError: the shape is wrong, or no frame is usable.
    """
    if points_MV3.ndim != 3 or points_MV3.shape[1:] != (68, 3):
        raise ValueError(f"mean_face needs landmarks (M, 68, 3), not {tuple(points_MV3.shape)}.")
    usable = points_MV3.isfinite().flatten(1).all(1) & (points_MV3 != 0).flatten(1).any(1)
    if valid_M is not None:
        usable &= valid_M == 1
    points = points_MV3[usable].double()
    if len(points) == 0:
        raise ValueError("there is no frame with a detected face to average; check the landmarks.")
    face = points.mean(0)
    for _ in range(max_rounds):
        previous, face = face, register(points, face).mean(0)
        if (face - previous).abs().max() < tolerance_px:
            break
    return face.float()


def misfit(points_V3: Tensor, mean_face_V3: Tensor) -> Tensor:
    """How badly frames fit the mean face: 0 is a perfect fit, about 1 is not a face.

    Returns:
        (...): the RMS distance of the rigid points to the mean face after registration, divided by
        the RMS distance of the mean face's rigid points to their centre.
    """
    face = mean_face_V3[:NUM_RIGID].float()
    distance = register(points_V3, mean_face_V3)[..., :NUM_RIGID, :] - face
    size = (face - face.mean(0)).square().sum(-1).mean().sqrt()
    return distance.square().sum(-1).mean(-1).sqrt() / size
