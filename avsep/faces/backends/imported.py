"""Landmarks that somebody else has computed, as a backend: no detector and no model is run.

One object serves one clip, whose frames it counts as they go by. The mouth is cut and everything
is scored as with any backend; only one face a clip is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.errors import ItemError, Reason, UsageError
from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.geometry import face_boxes
from avsep.faces.landmark_files import read_landmarks
from avsep.schema import FPS

if TYPE_CHECKING:
    from avsep.schema import Clip

SLACK_FRAMES = 2  # by which the file and the clip may differ
# Where releases keep the file of a clip, below the root.
_PLACES = ("{origin}", "dev/{origin}", "test/{origin}", "dev/mp4/{origin}", "test/mp4/{origin}")


class ImportedLandmarks:
    """The landmarks of one clip."""

    name = "imported"
    window = 1
    min_score = 0.5

    def __init__(self, points: Sequence[np.ndarray | None], first: int = 0) -> None:
        """Take the landmarks of a clip's file.

        Args:
            points: one entry a frame of the file at 25 a second, (68, 2) or None.
            first: number of the file's frame that is the clip's first.
        """
        self._points, self._first = points, first
        self._index = -1
        self._shape: tuple[int, ...] = ()

    def watched(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same frames; whoever takes one makes it the current one."""
        for index, frame in enumerate(frames):
            self._index, self._shape = index, frame.shape
            yield frame

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The face of the current frame; none in a part of it, which cannot be placed."""
        points = self._current()
        if points is None or frame.shape != self._shape:
            return []
        region = _region(points)
        if region.side < min_face_px:
            return []
        return [Detection(x=region.x, y=region.y, side=region.side, score=1.0, region=region)]

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """The current frame's points for each region."""
        points = self._current()
        if points is None:
            nothing = np.zeros((68, 3), np.float32)
            return [Estimate(points=nothing, score=0.0, region=region) for region in regions]
        flat = np.concatenate([points, np.zeros((len(points), 1), np.float32)], axis=1)
        return [Estimate(points=flat, score=1.0, region=_region(points)) for _ in regions]

    def _current(self) -> np.ndarray | None:
        place = self._first + self._index
        return self._points[place] if 0 <= place < len(self._points) else None


def open_imported(options: dict[str, str], clip: Clip, num_frames: int) -> ImportedLandmarks:
    """The landmarks of a clip.

    Args:
        options: `root`, the folder of the files; `made_by`, who made them.
        clip: its row; its `origin` names the file.
        num_frames: of the clip.

    Raises:
        ItemError: there is no such file, it is damaged, or is that of another clip.
    """
    if not clip.origin:
        raise ItemError(
            Reason.FILE_MISSING, f"the corpus {clip.corpus} gives no names to find landmarks by."
        )
    root = checked_root(options)
    places = [root / f"{place.format(origin=clip.origin)}.pkl" for place in _PLACES]
    path = next((place for place in places if place.is_file()), places[0])
    points = read_landmarks(path)
    # The picture that shows at the clip's start, as `media.decode.read_frames` chooses it.
    first = int(clip.start_s * FPS + 0.5)
    if abs(len(points) - first - num_frames) > SLACK_FRAMES:
        raise ItemError(
            Reason.BAD_ANNOTATION,
            f"the landmarks of {clip.origin} are of {len(points)} frames, the clip has"
            f" {first + num_frames}.",
        )
    return ImportedLandmarks(points, first)


def checked_root(options: dict[str, str]) -> Path:
    """The folder of the landmark files.

    Raises:
        UsageError: none is named, or there is none.
    """
    root = Path(options.get("root", "")).expanduser()
    if not options.get("root") or not root.is_dir():
        raise UsageError(
            "the face backend imported needs extract.backend_options.root, the folder of the"
            f" landmark files; {str(root)!r} is none."
        )
    return root


def _region(points: np.ndarray) -> Region:
    x, y, side = (float(value) for value in face_boxes(points[None])[0])
    return Region(x=x, y=y, side=side)
