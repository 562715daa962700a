"""The mouth crop: its place in the frame of the mean face, and how it is cut out.

As in the pipelines of Dolphin and AV-HuBERT, but with a symmetric window, so that the crop neither
lags nor leads the landmarks; see docs/shards.md.
"""

from __future__ import annotations

import cv2
import numpy as np

from avsep.faces.crops import GreyCrop
from avsep.faces.geometry import ENDLESS, apply, compose, similarity, window_mean
from avsep.faces.ibug68 import MOUTH, STABLE
from avsep.faces.pose import POSE, pose_yaw_degrees
from avsep.schema import LIPS_SIZE

MEAN_FACE_SIZE = 256
# The stable points 33, 36, 39, 42 and 45 of the mean face in its 256x256 frame.
MEAN_FACE = np.array(
    [[128.87, 137.30], [92.52, 94.37], [112.77, 94.94], [145.53, 94.53], [166.68, 93.57]]
)
# How far they stand out towards the camera, in the same pixels, on a frontal face.
DEPTH = np.array([28.0, 0.0, 7.5, 7.5, 0.0])
MIDDLE_X = 129.6  # of the outer eye corners, about which a head turns
# A head that is turned less is fitted to the mean face as it is; one that is turned more, to the
# mean face turned as far.
FITTED_DEG, TURNED_DEG = 20.0, 35.0


def turned_mean_faces(yaw_deg: np.ndarray) -> np.ndarray:
    """The stable points of the mean face as seen when the head is turned.

    Otherwise the nose, which stands out, moves against the eyes and turns the crop, and the
    narrower face enlarges it.

    Args:
        yaw_deg: (T,) as `pose.yaw_degrees`.

    Returns:
        (T, 5, 2); `MEAN_FACE` itself up to 20 degrees.
    """
    share = np.clip((np.abs(yaw_deg) - FITTED_DEG) / (TURNED_DEG - FITTED_DEG), 0, 1)
    yaw = np.radians(yaw_deg * share)[:, None]
    faces = np.tile(MEAN_FACE, (len(yaw_deg), 1, 1))
    across = MEAN_FACE[:, 0] - MIDDLE_X
    faces[:, :, 0] += across * (np.cos(yaw) - 1) + DEPTH * np.sin(yaw)
    return faces


def mean_face_transforms(
    points: np.ndarray, half: int, *, start: int, stop: int, first: int = 0, total: int = ENDLESS
) -> np.ndarray:
    """Affine matrices from the analysis frame to the frame of the mean face.

    Args:
        points: (frames, 68, 3) landmarks in the analysis frame.
        half: number of frames on each side over which the stable points are averaged.
        start: first frame of the result.
        stop: frame after the last of the result.
        first: number of the frame in `points[0]`.
        total: number of frames of the whole track, where it is known.

    Returns:
        (stop - start, 2, 3) float32, the precision that is stored.
    """
    stable = points[:, list(STABLE), :2].astype(np.float64)
    span = {"start": start, "stop": stop, "first": first, "total": total}
    mean = window_mean(stable, half, **span)
    pose = window_mean(points[:, POSE].astype(np.float64), half, **span)
    yaw_deg = pose_yaw_degrees(pose)
    return similarity(mean, turned_mean_faces(yaw_deg)).astype(np.float32)


def crop_corners(points: np.ndarray, to_mean_face: np.ndarray) -> np.ndarray:
    """Upper left corners of the mouth crops in the frame of the mean face.

    A crop is centred on the mean of its frame's mouth points, and moved inside the 256x256 frame
    where it would extend beyond it. It is not rounded to whole pixels: the mouth would jump.

    Args:
        points: (T, 68, 3) landmarks in the analysis frame.
        to_mean_face: (T, 2, 3) from `mean_face_transforms`.

    Returns:
        (T, 2) float32: x, y.
    """
    mouth = apply(to_mean_face.astype(np.float64), points[:, MOUTH, :2].astype(np.float64))
    corners = mouth.mean(axis=1) - LIPS_SIZE // 2
    return np.clip(corners, 0, MEAN_FACE_SIZE - LIPS_SIZE).astype(np.float32)


def cut_mouth(crop: GreyCrop, source_to_mean_face: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Warp the 96x96 pixels of the mouth, and no others, out of the grey picture of a face.

    Args:
        crop: grey picture around the face.
        source_to_mean_face: (2, 3) affine matrix from the source to the frame of the mean face.
        corner: (2,) x and y of the upper left corner in that frame.

    Returns:
        (96, 96) uint8; black outside the picture.
    """
    matrix = compose(source_to_mean_face.astype(np.float64), crop.to_source)
    matrix[:, 2] -= corner
    return cv2.warpAffine(crop.image, matrix, (LIPS_SIZE, LIPS_SIZE), flags=cv2.INTER_LINEAR)
