"""Imported landmarks as a backend, without a detector or a model.

One object serves one clip and counts its frames as they pass. Mouths are cropped and tracks are
scored as with any backend, but only one face per clip is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsep.errors import ItemError, Reason, UsageError
from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.geometry import face_boxes
from avsep.faces.landmark_files import SUFFIXES, read_landmarks
from avsep.files import expand_home
from avsep.schema import FPS

if TYPE_CHECKING:
    from avsep.faces.pictures import Picture
    from avsep.schema import Clip

SLACK_FRAMES = 2  # by which the lengths of file and clip may differ
# Where releases store the file of a clip, relative to the root.
_PLACES = ("{origin}", "dev/{origin}", "test/{origin}", "dev/mp4/{origin}", "test/mp4/{origin}")


class ImportedLandmarks:
    """The landmarks of one clip."""

    name = "imported"
    window = 1
    min_score = 0.5

    def __init__(self, points: Sequence[np.ndarray | None], first: int = 0) -> None:
        """Take the landmarks of a file.

        Args:
            points: one entry per frame of the file, 25 per second: (68, 2) in pixels, or None.
            first: number of the frame in the file that is the first of the clip.
        """
        self._points, self._first = points, first
        self._index = -1
        self._shape: tuple[int, ...] = ()

    def counted(self, frames: Iterable[Picture]) -> Iterator[Picture]:
        """The same pictures; the last one taken is the current frame of this backend."""
        for index, frame in enumerate(frames):
            self._index, self._shape = index, frame.shape
            yield frame

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The face of the current frame; none in a part of it, whose place is not known."""
        points = self._current()
        if points is None or frame.shape != self._shape:
            return []
        region = _region(points)
        if region.side < min_face_px:
            return []
        return [Detection(x=region.x, y=region.y, side=region.side, score=1.0, region=region)]

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """The points of the current frame, for each region."""
        points = self._current()
        if points is None:
            nothing = np.zeros((68, 3), np.float32)
            return [Estimate(points=nothing, score=0.0, region=region) for region in regions]
        flat = np.concatenate([points, np.zeros((len(points), 1), np.float32)], axis=1)
        return [Estimate(points=flat, score=1.0, region=_region(points)) for _ in regions]

    def _current(self) -> np.ndarray | None:
        place = self._first + self._index
        return self._points[place] if 0 <= place < len(self._points) else None


def open_imported(options: Mapping[str, Any], clip: Clip, num_frames: int) -> ImportedLandmarks:
    """Read the landmarks of a clip.

    Args:
        options: `root`, the folder of the files; `made_by`, who made them.
        clip: row of the clip; its `origin` names the file.
        num_frames: number of frames in the clip.

    Raises:
        ItemError: the file is missing, damaged, or belongs to another clip.
    """
    if not clip.origin:
        raise ItemError(
            Reason.FILE_MISSING,
            f"the corpus {clip.corpus} has no original names, which landmark files are found by.",
        )
    root = checked_root(options)
    names = [place.format(origin=clip.origin) for place in _PLACES]
    places = [root / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    path = next((place for place in places if place.is_file()), places[0])
    points = read_landmarks(path)
    # The picture that is shown at the clip's start, as `media.decode.read_frames` chooses it.
    first = int(clip.start_s * FPS + 0.5)
    if abs(len(points) - first - num_frames) > SLACK_FRAMES:
        raise ItemError(
            Reason.BAD_ANNOTATION,
            f"the landmark file of {clip.origin} has {len(points)} frames, the clip has"
            f" {first + num_frames}.",
        )
    return ImportedLandmarks(points, first)


def checked_root(options: Mapping[str, Any]) -> Path:
    """The folder of the landmark files.

    Raises:
        UsageError: the option is missing, or it is not a folder.
    """
    root = expand_home(str(options.get("root", "")))
    if not options.get("root") or not root.is_dir():
        raise UsageError(
            "the face backend imported needs extract.backend_options.root, the folder of the"
            f" landmark files; {str(root)!r} is not a folder."
        )
    return root


def _region(points: np.ndarray) -> Region:
    x, y, side = (float(value) for value in face_boxes(points[None])[0])
    return Region(x=x, y=y, side=side)
