"""The videos of a separation: one per speaker with their voice, and an overview of all."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from avsep.errors import ItemError
from avsep.media.encode import open_mp4
from avsep.progress import StepProgress
from avsep.schema import MISSING
from avsep.separation.recording import FileRecording, Recording
from avsep.separation.sounds import Pcm
from avsep.separation.speakers import Speaker

MAX_SIDE = 1280  # longer side of the pictures written, in pixels
CHUNK = 50  # frames whose boxes are read from disk at a time
# Distinct for colour-blind people too (Okabe and Ito).
COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
AWAY = (128, 128, 128)


def video_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the pictures written: even numbers, at most `MAX_SIDE`."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    even = [max(2, round(side * scale / 2) * 2) for side in (width, height)]
    return even[0], even[1]


def write_videos(
    folder: Path,
    recording: Recording,
    speakers: Sequence[Speaker],
    voices: Sequence[Pcm],
    scale: float,
    progress: StepProgress,
) -> list[Path]:
    """Write `speaker<n>.mp4` and `overview.mp4` in one pass; returns their paths.

    Args:
        folder: folder of the files.
        recording: the pictures, and the mixture, which is the sound of the overview.
        speakers: the speakers to draw.
        voices: the voice of each speaker.
        scale: side of the squares drawn, in sides of the face boxes.
        progress: shows the step; see `avsep.progress.show_progress`.
    """
    timeline = recording.timeline
    size = video_size(timeline.width, timeline.height)
    paths = [folder / f"speaker{speaker.number}.mp4" for speaker in speakers]
    paths.append(folder / "overview.mp4")
    with ExitStack() as stack, progress("write videos", timeline.num_frames) as advance:
        sounds = [*voices, Pcm(recording.mixture)]
        writers = [
            stack.enter_context(open_mp4(path, sound))
            for path, sound in zip(paths, sounds, strict=True)
        ]
        # Encoders release Python's lock, so each file has a thread. Its pictures stay in order: the
        # next one waits for the one before. The pool is entered last, so it ends first.
        pool = stack.enter_context(ThreadPoolExecutor(len(writers)))
        boxes: list[np.ndarray] = []
        pending: list[Future[None]] = []
        for index, picture in enumerate(recording.pictures(0, timeline.num_frames)):
            if index % CHUNK == 0:
                stop = min(index + CHUNK, timeline.num_frames)
                boxes = [scaled_boxes(speaker.squares(index, stop), scale) for speaker in speakers]
            small = _resized(picture.rgb(), size)
            overview = small.copy()
            drawn = []
            for speaker, box in zip(speakers, boxes, strict=True):
                own = small.copy()
                drawn.append(own)
                if index < speaker.first_frame:  # a box would stand beside the head
                    _label(own, f"{speaker.number}: face not in view", (4, size[1] - 8), AWAY, 1)
                    continue
                here = box[index % CHUNK] * (size[0] / timeline.width)
                seen = speaker.valid[index] != MISSING
                for canvas in (own, overview):
                    _frame(canvas, here, speaker.number, seen)
            drawn.append(overview)
            for one in pending:
                one.result()
            pending = [
                pool.submit(writer.write, canvas)
                for writer, canvas in zip(writers, drawn, strict=True)
            ]
            advance(1)
        for one in pending:
            one.result()
    return paths


def copy_videos(
    folder: Path,
    recording: FileRecording,
    speakers: Sequence[Speaker],
    voices: Sequence[Pcm],
    progress: StepProgress,
) -> str:
    """Write `speaker<n>.mp4` with the coded pictures of the recording, untouched.

    Returns:
        Why this cannot be done, and nothing is written; empty if it was.
    """
    from avsep.media.copy_picture import check_copy, copy_pictures

    start_s = recording.timeline.start_s
    try:
        check_copy(recording.path, start_s)
    except ItemError as error:
        return error.message
    with progress("write videos", len(speakers)) as advance:
        paths = [folder / f"speaker{speaker.number}.mp4" for speaker in speakers]
        try:
            for path, voice in zip(paths, voices, strict=True):
                copy_pictures(recording.path, path, voice, start_s)
                advance(1)
        except ItemError as error:
            for path in paths:
                path.unlink(missing_ok=True)
            return error.message
    return ""


def scaled_boxes(squares: np.ndarray, scale: float) -> np.ndarray:
    """Squares (n, 3) of left, top and side, enlarged about their centres."""
    grown = squares[:, 2:] * scale
    return np.concatenate([squares[:, :2] + (squares[:, 2:] - grown) / 2, grown], axis=1)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _frame(canvas: np.ndarray, box: np.ndarray, number: int, seen: bool) -> None:
    """Draw the square of a speaker; grey and thin, and with the reason, while the face is away."""
    left, top, side = (round(float(value)) for value in box)
    colour = COLOURS[(number - 1) % len(COLOURS)] if seen else AWAY
    thick = max(1, canvas.shape[0] // 240) if seen else 1
    cv2.rectangle(canvas, (left, top), (left + side, top + side), colour, thick, cv2.LINE_AA)
    size = max(0.4, canvas.shape[0] / 900)
    text = str(number) if seen else f"{number}: face not in view"
    width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)[0][0]
    place = (
        max(2, min(left + 4, canvas.shape[1] - width - 2)),
        max(round(24 * size), top - round(6 * size)),
    )
    _label(canvas, text, place, colour, thick)


def _label(
    canvas: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, ...], thick: int
) -> None:
    size = max(0.4, canvas.shape[0] / 900)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)
