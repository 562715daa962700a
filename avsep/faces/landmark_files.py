"""Landmark files of auto_avsr and AV-HuBERT, read without running the code in them.

The files are pickles of a list with one entry per frame: (68, 2) in pixels of the clip's picture,
or None where no face was found; some have `{"facial_landmarks": ...}` as entries. Unpickling can
run any code, so `plain_pickle` reads them. `write_npy` keeps the same in the format of numpy,
which holds nothing but numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.faces.plain_pickle import Numbers, load_plain
from avsep.files import atomic_path, read_bounded
from avsep.npy import read_npy
from avsep.schema import NUM_LANDMARKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npy", ".pkl")
MAX_BYTES = 512 << 20
MAX_FRAMES = 4 * 3600 * 25


def read_landmarks(path: Path) -> list[np.ndarray | None]:
    """The landmarks of each frame of a clip, from a `.npy` of `write_npy` or a pickle.

    Returns:
        For each frame (68, 2) float32 in pixels, or None where no face was found.

    Raises:
        ItemError: the file is missing, not a regular file, too large, or not such a list.
    """
    try:
        content = read_bounded(path, MAX_BYTES)
        if path.suffix == ".npy":
            return _from_npy(content)
        frames = load_plain(content)
        if not isinstance(frames, list) or len(frames) > MAX_FRAMES:
            raise ValueError("it is not a list of frames")
        return [_points(frame) for frame in frames]
    except FileNotFoundError as error:
        raise ItemError(Reason.FILE_MISSING, f"the landmark file {path} is missing.") from error
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{path}: {error.strerror}.") from error
    except (ValueError, OverflowError) as error:
        raise ItemError(Reason.BAD_ANNOTATION, f"{path.name}: {error}.") from error


def write_npy(path: Path, frames: Sequence[NDArray[np.float32] | None]) -> None:
    """Write landmarks as (frames, 68, 2) float32, NaN where no face was found; atomic."""
    points = np.full((len(frames), NUM_LANDMARKS, 2), np.nan, np.float32)
    for number, frame in enumerate(frames):
        if frame is not None:
            points[number] = frame
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.lib.format.write_array(handle, points, version=(1, 0), allow_pickle=False)


def _from_npy(content: bytes) -> list[np.ndarray | None]:
    points = read_npy(content)
    if points.dtype != np.float32 or points.shape[1:] != (NUM_LANDMARKS, 2):
        raise ValueError(f"it holds {points.dtype} of shape {points.shape}, not (frames, 68, 2)")
    if len(points) > MAX_FRAMES:
        raise ValueError(f"it has {len(points)} frames")
    found = np.isfinite(points).all(axis=(1, 2))
    if not (found | np.isnan(points).all(axis=(1, 2))).all():
        raise ValueError("a frame has points that are not finite numbers")
    return [frame if known else None for frame, known in zip(points, found, strict=True)]


def _points(frame: Any) -> np.ndarray | None:
    if isinstance(frame, dict):
        frame = frame.get("facial_landmarks")
    if frame is None:
        return None
    points = frame.array() if isinstance(frame, Numbers) else _from_lists(frame)
    if points.shape[:1] != (NUM_LANDMARKS,) or points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"a frame has points of shape {points.shape}, not (68, 2)")
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise ValueError("a frame has points that are not finite numbers")
    return np.array(points[:, :2], np.float32)


def _from_lists(frame: Any) -> np.ndarray:
    """Points that are lists of numbers or of arrays; nested deeper, they could grow at will."""
    if not isinstance(frame, list | tuple) or len(frame) != NUM_LANDMARKS:
        raise ValueError("a frame is not an array of (68, 2)")
    rows = [_row(point) if isinstance(point, Numbers) else point for point in frame]
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) not in (2, 3):
            raise ValueError("a frame is not an array of (68, 2)")
    values = [[_number(value) for value in row] for row in rows]
    return np.asarray(values, np.float64)


def _row(point: Numbers) -> Any:
    # Asked before lists are made of it: a file may name one large array as each of its points.
    if point.shape not in ((2,), (3,)):
        raise ValueError(f"a frame has a point of shape {point.shape}, not (2,)")
    return point.array().tolist()


def _number(value: Any) -> float:
    if isinstance(value, Numbers):
        if value.shape not in ((), (1,)):
            raise ValueError(f"a frame has a number of shape {value.shape}")
        value = value.array().item()
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("a frame has points that are not finite numbers")
    return float(value)
