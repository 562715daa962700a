"""The picture member of a sample: grey H.264 `.lips.mp4`, or `.lips.npy`.

The video is tagged as full range. Without the tag, players and libraries take the grey values for
limited range and stretch them, which costs 10 dB although the coded picture is the same.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from avsep.npy import read_npy
from avsep.schema import FPS, LIPS_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_CRF = 18
PRESET = "faster"  # half the time of x264's default for the same size and 0.2 dB
GOP = 25  # frames; to read a window, at most one second more than needed is decoded
GREY_CHROMA = 128
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# Also for the look that FFmpeg takes at the first pictures; the container may say another size.
# FFmpeg's buffers are a little larger than the pictures.
_OPTIONS = {"max_pixels": str(4 * LIPS_SIZE * LIPS_SIZE)}
_PIXELS = "yuv420p"  # not monochrome H.264, which many decoders refuse

# One thread, and the same code on every processor: the bytes must not depend on the machine.
_X264_PARAMS = f"threads=1:lookahead-threads=1:keyint={GOP}:bframes=0:cpu-independent=1"


def _checked(lips: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if lips.dtype != np.uint8 or lips.shape[1:] != (LIPS_SIZE, LIPS_SIZE) or not len(lips):
        raise ValueError(
            f"lips are {lips.dtype} of shape {lips.shape}; they must be (frames, 96, 96) uint8."
        )
    return np.ascontiguousarray(lips)


def encode_mp4(lips: NDArray[np.uint8], *, crf: int = DEFAULT_CRF) -> bytes:
    """H.264 High, 25 fps, GOP 25, no B frames, full range, no audio; deterministic bytes.

    Args:
        lips: (frames, 96, 96) uint8.
        crf: quality setting of x264; a smaller value gives better pictures and larger files.
    """
    import av

    lips = _checked(lips)
    buffer = io.BytesIO()
    options = {
        "crf": str(crf),
        "preset": PRESET,
        "profile": "high",
        "x264-params": _X264_PARAMS,
    }
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = LIPS_SIZE
        stream.pix_fmt = _PIXELS
        stream.thread_count = 1
        stream.codec_context.color_range = FULL_RANGE
        for number, picture in enumerate(lips):
            frame = av.VideoFrame(LIPS_SIZE, LIPS_SIZE, _PIXELS)
            _plane(frame, 0)[:, :LIPS_SIZE] = picture
            for chroma in (1, 2):
                _plane(frame, chroma)[:] = GREY_CHROMA
            frame.color_range = FULL_RANGE
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_mp4(
    content: bytes, first: int = 0, count: int | None = None, *, num_frames: int | None = None
) -> NDArray[np.uint8]:
    """Frames of a lips video, (frames, 96, 96) uint8.

    Args:
        content: the video.
        first: first frame; decoding starts at the key frame before it.
        count: number of frames; None for all that follow.
        num_frames: number of frames that the video must have; None for any.

    Raises:
        ValueError: the video is damaged, has another size or length, or lacks the full-range tag.
    """
    import av

    try:
        with av.open(io.BytesIO(content), "r", format="mp4", options=_OPTIONS) as container:
            if not container.streams.video:
                raise ValueError("the lips have no video stream.")
            stream = container.streams.video[0]
            _check_size(stream.width, stream.height)
            stream.thread_type = "NONE"
            stream.codec_context.options = _OPTIONS
            total = stream.frames
            if num_frames not in (None, total) or not 0 < total <= len(content):
                raise ValueError(f"the lips have {total} frames; expected {num_frames or 'some'}.")
            stop = total if count is None else min(first + count, total)
            lips = np.empty((max(0, stop - first), LIPS_SIZE, LIPS_SIZE), np.uint8)
            step = round(1 / (FPS * (stream.time_base or Fraction(1, FPS))))
            if first and len(lips):
                container.seek(first * step, stream=stream)
            done = 0
            for frame in container.decode(stream) if len(lips) else ():
                # A frame of the way from the key frame, one that is wanted, or one too late.
                late = (frame.pts or 0) - (first + done) * step
                if not late:
                    # The luma plane is the grey picture itself: no conversion, no rounding.
                    lips[done] = _luma(frame)
                    done += 1
                if late > 0 or done == len(lips):
                    break
    except av.FFmpegError as error:
        raise ValueError(f"the lips cannot be decoded: {error}") from error
    if done != len(lips):
        raise ValueError(f"the lips have {done} of {len(lips)} frames.")
    return lips


def _check_size(width: int, height: int) -> None:
    if (width, height) != (LIPS_SIZE, LIPS_SIZE):
        raise ValueError(f"the lips are {width}x{height}; they must be {LIPS_SIZE}x{LIPS_SIZE}.")


def _luma(frame: object) -> NDArray[np.uint8]:
    _check_size(frame.width, frame.height)  # type: ignore[attr-defined]
    if frame.color_range != FULL_RANGE:  # type: ignore[attr-defined]
        raise ValueError("the lips are not tagged as full range; readers would stretch them.")
    return _plane(frame, 0)[:, :LIPS_SIZE]


def _plane(frame: object, number: int) -> NDArray[np.uint8]:
    """A writable view of one plane of a video frame, (height, bytes per line) uint8."""
    plane = frame.planes[number]  # type: ignore[attr-defined]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]


def encode_npy(lips: NDArray[np.uint8]) -> bytes:
    """The frames without compression, as an npy file.

    Args:
        lips: (frames, 96, 96) uint8.
    """
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, _checked(lips), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def decode_npy(content: bytes) -> NDArray[np.uint8]:
    """All frames of an npy file, (frames, 96, 96) uint8.

    Raises:
        ValueError: the file is damaged, or its array has another type or shape.
    """
    try:
        return _checked(read_npy(content))
    except ValueError as error:
        raise ValueError(f"the lips cannot be decoded: {error}") from error
