"""Write pictures and sound to an MP4 file."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avsep.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from av.video.reformatter import VideoReformatter
    from numpy.typing import NDArray

AAC_FRAME = 1024  # samples per AAC frame
AUDIO_BIT_RATE = 96_000
_BT601 = 6  # code of SMPTE 170M, the same for primaries, transfer and matrix
_LIMITED = 1  # code of the range 16..235


class Samples(Protocol):
    """Mono sound that is read in parts: an int16 array, or a file with the same interface."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, span: slice, /) -> NDArray[np.int16]:
        """(n,) int16."""


def write_mp4(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    audio: NDArray[np.int16] | None,
    *,
    rate_hz: int = 16_000,
    fps: int = 25,
    crf: int = 20,
) -> None:
    """Encode H.264 (yuv420p, BT.601, limited range) and AAC into `path`, atomically.

    An edit list removes the delay of the AAC encoder, so a reader that uses presentation time gets
    the first sample at 0 s. The same input gives the same bytes: one encoder thread, no code that
    depends on the processor, no clock, no library version in the tags of the file.

    Args:
        path: path of the file to write, with the suffix `.mp4`.
        frames: pictures (H, W, 3) uint8 RGB, all of one size, with even H and W; read once.
        audio: (samples,) int16 mono from 0 s on, or None for a file without sound.
        rate_hz: sample rate of the audio.
        fps: frames per second.
        crf: quality of the video, 0 (best) to 51.

    Raises:
        ValueError: there are no frames, or a shape or type cannot be encoded.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("there are no frames to write; give at least one.")
    _check_picture(first)
    if audio is not None and (audio.ndim != 1 or str(audio.dtype) != "int16"):
        raise ValueError(f"audio is {audio.dtype} {audio.shape}; give one-dimensional int16.")
    with open_mp4(path, audio, rate_hz=rate_hz, fps=fps, crf=crf) as writer:
        for frame in itertools.chain([first], iterator):
            writer.write(frame)


@contextlib.contextmanager
def open_mp4(
    path: Path, audio: Samples | None, *, rate_hz: int = 16_000, fps: int = 25, crf: int = 20
) -> Iterator[Mp4Writer]:
    """As `write_mp4`, picture by picture; the file exists once the block ends without an error."""
    import av

    with (
        atomic_path(path) as temporary,
        # Not by PyAV: its files stay open when the disk fills up, and hold its space.
        temporary.open("wb") as file,
        av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container,
    ):
        writer = Mp4Writer(container, audio, rate_hz=rate_hz, fps=fps, crf=crf)
        yield writer
        writer.finish()


class Mp4Writer:
    """Writes the pictures of a file one by one, and the sound along with them."""

    def __init__(
        self, container: Any, audio: Samples | None, *, rate_hz: int, fps: int, crf: int
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self._container, self._audio, self._rate_hz, self._fps = container, audio, rate_hz, fps
        self._picture = container.add_stream("libx264", rate=fps)
        self._picture.pix_fmt = "yuv420p"
        self._picture.options = {
            "crf": str(crf),
            "preset": "veryfast",
            "threads": "1",
            # The AVX-512 code of x264's macroblock tree gives different bytes in each run.
            "x264-params": "cpu-independent=1",
        }
        self._picture.codec_context.thread_count = 1
        _tag_colours(self._picture.codec_context)
        self._sound: Any = None
        if audio is not None:
            self._sound = add_sound(container, rate_hz)
        self._reformatter = VideoReformatter()  # sets up its tables only once
        self._size: tuple[int, int] | None = None
        self._pictures = self._written = 0  # numbers of pictures and samples so far

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a picture (H, W, 3) uint8 RGB with even H and W, of the size of the first one.

        Raises:
            ValueError: the shape or type is different.
        """
        size = _check_picture(frame)
        if self._size is None:
            self._size = size
            self._picture.height, self._picture.width = size
        if size != self._size:
            raise ValueError(
                f"frame {self._pictures} is {frame.shape}; the first one was {(*self._size, 3)}."
            )
        picture = _video_frame(self._reformatter, frame)
        picture.pts, picture.time_base = self._pictures, Fraction(1, self._fps)
        self._container.mux(self._picture.encode(picture))
        self._pictures += 1
        # Sound is written along with the pictures, so that the muxer buffers little.
        self._write_sound(self._pictures * self._rate_hz // self._fps)

    def finish(self) -> None:
        """Write the rest of the sound, and what the encoders have buffered."""
        self._write_sound(0 if self._audio is None else len(self._audio))
        self._container.mux(self._picture.encode(None))
        if self._sound is not None:
            self._container.mux(self._sound.encode(None))

    def _write_sound(self, due: int) -> None:
        audio = self._audio
        while audio is not None and self._written < min(due, len(audio)):
            self._written = encode_audio(
                self._container, self._sound, audio, self._written, self._rate_hz
            )


def _check_picture(frame: NDArray[np.uint8]) -> tuple[int, int]:
    if frame.ndim != 3 or frame.shape[2] != 3 or str(frame.dtype) != "uint8":
        raise ValueError(f"a frame is {frame.dtype} {frame.shape}; give uint8 (H, W, 3).")
    height, width = frame.shape[:2]
    if height % 2 or width % 2 or not height or not width:
        raise ValueError(f"a frame is {width} x {height}; both must be even and above 0.")
    return height, width


def _tag_colours(context: Any) -> None:
    context.color_primaries = _BT601
    context.color_trc = _BT601
    context.colorspace = _BT601
    context.color_range = _LIMITED


def _video_frame(reformatter: VideoReformatter, frame: NDArray[np.uint8]) -> Any:
    import av
    import numpy as np
    from av.video.reformatter import ColorRange, Colorspace

    return reformatter.reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
        format="yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
    )


def add_sound(container: Any, rate_hz: int) -> Any:
    """Add a stream of mono AAC to a file that is written."""
    stream = container.add_stream("aac", rate=rate_hz)
    stream.codec_context.layout = "mono"
    stream.codec_context.bit_rate = AUDIO_BIT_RATE
    return stream


def encode_audio(container: Any, stream: Any, audio: Samples, start: int, rate_hz: int) -> int:
    """Encode the next AAC frame; returns the number of samples written so far."""
    import av

    samples = audio[start : start + AAC_FRAME][None]
    frame = av.AudioFrame.from_ndarray(samples.copy(), format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
    container.mux(stream.encode(frame))
    return start + samples.shape[1]
