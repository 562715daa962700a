"""Cut annotated clips out of a downloaded video, frame by frame, in one pass.

A section that yt-dlp cuts begins at the key picture before it, up to ten seconds early; here frame
n of the annotation is the picture that shows at n / 25 s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avsep.corpora.annotation_file import Boxes
from avsep.corpora.source_clip import FileInfo, read_file_info
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.fetch import VideoError
from avsep.corpora.youtube.messages import Trouble
from avsep.errors import ItemError, Reason
from avsep.schema import FPS, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    import numpy as np

GREY = 110  # of what lies outside of the picture, as SyncNet's tools pad
SLACK_FRAMES = 2  # that a video may end earlier than its annotation
PIXELS_HIGH = 360  # of the picture that boxes in pixels are in


@dataclass(frozen=True)
class Cut:
    """One clip to cut.

    Attributes:
        clip_id: of the clip.
        boxes: of the face, one a frame.
        target: where it goes.
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
        """Number of the frame after the last."""
        return self.boxes.first_frame + len(self.boxes.rows)


@dataclass
class _Open:
    cut: Cut
    pictures: list[np.ndarray] = field(default_factory=list)


def check_source(path: Path, cuts: Iterable[Cut], config: YouTubeConfig) -> tuple[int, int, float]:
    """Pass when a video can be what was annotated; returns its width, height and seconds.

    Raises:
        VideoError: it is shorter, has another aspect or no sound, or cannot be read.
    """
    from avsep.media.probe import probe

    try:
        info = probe(path)
    except ItemError as error:
        raise VideoError(Trouble.CUT, error.message) from error
    if not info.has_video or not info.has_audio:
        what = "sound" if info.has_video else "pictures"
        raise VideoError(Trouble.CHANGED, f"the video has no {what}.")
    for cut in cuts:
        if (cut.stop - SLACK_FRAMES) / FPS > info.end_s:
            raise VideoError(
                Trouble.CHANGED,
                f"the video lasts {info.end_s:.2f} s; {cut.stop / FPS:.2f} s are annotated.",
            )
        aspect, wanted = info.width / info.height, cut.boxes.aspect
        if wanted and abs(aspect / wanted - 1) > config.aspect_tolerance:
            raise VideoError(
                Trouble.CHANGED,
                f"the picture is {info.width}x{info.height} ({aspect:.3f}), annotated was"
                f" {wanted:.3f}.",
            )
    return info.width, info.height, info.end_s


def cut_clips(
    path: Path, cuts: Iterable[Cut], config: YouTubeConfig
) -> Iterator[tuple[str, FileInfo | ItemError]]:
    """Cut clips out of a checked video; yields what became of each."""
    from avsep.media.decode import read_frames

    todo = sorted(cuts, key=lambda cut: (cut.first, cut.clip_id))
    if not todo:
        return
    first, stop = todo[0].first, max(cut.stop for cut in todo)
    open_cuts: list[_Open] = []
    ended: set[str] = set()
    try:
        frames = enumerate(read_frames(path, first / FPS, stop - first), first)
        for number, picture in frames:
            while todo and todo[0].first == number:
                open_cuts.append(_Open(todo.pop(0)))
            for entry in list(open_cuts):
                box = entry.cut.boxes.rows[number - entry.cut.first]
                in_pixels = entry.cut.boxes.in_pixels
                entry.pictures.append(square(picture, box, config, in_pixels=in_pixels))
                if number == entry.cut.stop - 1:
                    open_cuts.remove(entry)
                    ended.add(entry.cut.clip_id)
                    yield entry.cut.clip_id, _written(path, entry)
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
    """The square around a box, (size, size, 3) uint8; grey where it leaves the picture.

    Args:
        picture: (height, width, 3) uint8.
        box: x, y, width, height, as shares of the picture or in pixels of one 360 high.
        config: for the scale and the size.
        in_pixels: which of the two.
    """
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    across, down = (height / PIXELS_HIGH,) * 2 if in_pixels else (width, height)
    x, y, w, h = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    side = max(w, h, 2.0) * config.box_scale
    step = side / config.size
    left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
    # Pixel centres are at integers on both sides.
    matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]])
    return cv2.warpAffine(
        picture,
        matrix,
        (config.size, config.size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY),
    )


def _written(path: Path, entry: _Open) -> FileInfo | ItemError:
    from avsep.media.decode import read_audio
    from avsep.media.encode import write_mp4
    from avsep.media.probe import probe

    cut, count = entry.cut, len(entry.pictures)
    try:
        audio = read_audio(path, cut.first / FPS, count * SAMPLES_PER_FRAME)
        write_mp4(cut.target, entry.pictures, audio)
        pictures = probe(cut.target).num_pictures
        if pictures != count:
            raise ItemError(Reason.CUT_FAILED, f"{pictures} of {count} pictures were written.")
        return read_file_info(cut.target)
    except ItemError as error:
        with contextlib.suppress(OSError):
            cut.target.unlink(missing_ok=True)
        return ItemError(Reason.CUT_FAILED, error.message)
    finally:
        entry.pictures.clear()
