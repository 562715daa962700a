"""Cut annotated clips out of a downloaded video, frame by frame, in one pass.

A section cut by yt-dlp starts at the key frame before it, up to ten seconds early. Here frame n of
the annotation is exactly the picture shown at n / 25 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avsep.corpora.annotation_file import Boxes
from avsep.corpora.source_clip import FileInfo
from avsep.corpora.source_files import read_file_info
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.messages import Failure
from avsep.corpora.youtube.ytdlp import VideoError
from avsep.errors import ItemError, Reason
from avsep.schema import FPS, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    import numpy as np

GREY = 110  # colour outside of the picture, the same as in the tools of SyncNet
TOLERANCE_FRAMES = 2  # a video may end this much earlier than its annotation
PIXELS_HIGH = 360  # height of the picture that boxes in pixels refer to


@dataclass(frozen=True)
class Cut:
    """One clip to cut.

    Attributes:
        clip_id: id of the clip.
        boxes: boxes of the face, one per frame.
        target: path of the file to write.
    """

    clip_id: str
    boxes: Boxes
    target: Path

    @property
    def first(self) -> int:
        """Number of the first frame."""
        return self.boxes.first_frame

    @property
    def stop(self) -> int:
        """Number of the frame after the last one."""
        return self.boxes.first_frame + len(self.boxes.rows)


@dataclass
class _OpenCut:
    """A clip whose pictures are being collected."""

    cut: Cut
    pictures: list[np.ndarray] = field(default_factory=list)


def check_video(path: Path, cuts: Iterable[Cut], config: YouTubeConfig) -> tuple[int, int, float]:
    """Check that a video can be the annotated one; returns its width, height and seconds.

    Raises:
        VideoError: it is too short, has another aspect ratio or no sound, or cannot be read.
    """
    from avsep.media.probe import probe

    try:
        info = probe(path)
    except ItemError as error:
        raise VideoError(Failure.CUT, error.message) from error
    if not info.has_video or not info.has_audio:
        what = "sound" if info.has_video else "pictures"
        raise VideoError(Failure.CHANGED, f"the video has no {what}.")
    for cut in cuts:
        if (cut.stop - TOLERANCE_FRAMES) / FPS > info.end_s:
            raise VideoError(
                Failure.CHANGED,
                f"the video lasts {info.end_s:.2f} s, but the annotation goes up to"
                f" {cut.stop / FPS:.2f} s.",
            )
        aspect, annotated = info.width / info.height, cut.boxes.aspect
        if annotated and abs(aspect / annotated - 1) > config.aspect_tolerance:
            raise VideoError(
                Failure.CHANGED,
                f"the picture is {info.width}x{info.height} with the aspect ratio {aspect:.3f}, but"
                f" the annotated one is {annotated:.3f}.",
            )
    return info.width, info.height, info.end_s


def cut_clips(
    path: Path, cuts: Iterable[Cut], config: YouTubeConfig
) -> Iterator[tuple[str, FileInfo | ItemError]]:
    """Cut clips out of a checked video; yields the result of each, by clip id."""
    from avsep.media.decode import read_frames

    todo = sorted(cuts, key=lambda cut: (cut.first, cut.clip_id))
    if not todo:
        return
    first, stop = todo[0].first, max(cut.stop for cut in todo)
    open_cuts: list[_OpenCut] = []
    try:
        frames = enumerate(read_frames(path, first / FPS, stop - first), first)
        for number, picture in frames:
            while todo and todo[0].first == number:
                open_cuts.append(_OpenCut(todo.pop(0)))
            for entry in list(open_cuts):
                box = entry.cut.boxes.rows[number - entry.cut.first]
                in_pixels = entry.cut.boxes.in_pixels
                entry.pictures.append(square(picture, box, config, in_pixels=in_pixels))
                if number == entry.cut.stop - 1:
                    open_cuts.remove(entry)
                    yield entry.cut.clip_id, _write(path, entry)
    except ItemError as error:
        for cut in [*(entry.cut for entry in open_cuts), *todo]:
            yield cut.clip_id, ItemError(Reason.CUT_FAILED, error.message)


def square(
    picture: np.ndarray,
    box: tuple[float, float, float, float],
    config: YouTubeConfig,
    *,
    in_pixels: bool,
) -> np.ndarray:
    """The square around a box, (size, size, 3) uint8; grey outside of the picture.

    Args:
        picture: (height, width, 3) uint8.
        box: x, y, width and height.
        config: gives the scale and the size.
        in_pixels: whether the box is in pixels of a picture 360 high; otherwise its values are
            shares of the picture.
    """
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    x_unit, y_unit = (height / PIXELS_HIGH,) * 2 if in_pixels else (width, height)
    x, y, w, h = box[0] * x_unit, box[1] * y_unit, box[2] * x_unit, box[3] * y_unit
    side = max(w, h, 2.0) * config.box_scale
    step = side / config.size
    left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
    # Pixel centres are at integers in both pictures.
    matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]])
    return cv2.warpAffine(
        picture,
        matrix,
        (config.size, config.size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY),
    )


def _write(path: Path, entry: _OpenCut) -> FileInfo | ItemError:
    from avsep.media.decode import read_audio
    from avsep.media.encode import write_mp4
    from avsep.media.probe import probe

    cut, count = entry.cut, len(entry.pictures)
    try:
        audio = read_audio(path, cut.first / FPS, count * SAMPLES_PER_FRAME)
        write_mp4(cut.target, entry.pictures, audio)
        written = probe(cut.target).num_pictures
        if written != count:
            raise ItemError(Reason.CUT_FAILED, f"{written} of {count} pictures were written.")
        return read_file_info(cut.target)
    except ItemError as error:
        with contextlib.suppress(OSError):
            cut.target.unlink(missing_ok=True)
        return ItemError(Reason.CUT_FAILED, error.message)
    finally:
        entry.pictures.clear()
