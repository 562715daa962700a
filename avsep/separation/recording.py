"""The recording to separate: a file or arrays on one time line, with the sound on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from avsep.errors import CheckError, ItemError, UsageError, as_command_error
from avsep.faces.pictures import ArrayPicture, Picture
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME
from avsep.separation.disk_array import DiskArray

if TYPE_CHECKING:
    from avsep.media.normalise import Readable

# Mono, stereo, and the surround layouts whose centre channel carries the speech. The meaning of
# three or four channels differs from file to file.
CHANNELS = (1, 2, 6, 8)
SILENT_PEAK = 10 ** (-70 / 20)  # relative to full scale
_LATE_S = 0.001  # time stamps are rounded by up to this


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Where pictures and sound lie; frame i lasts from sample 640 i to 640 (i + 1).

    Attributes:
        start_s: when frame 0 shows, in seconds of the file's presentation time.
        num_frames: number of frames that picture and sound span together.
        first_picture: number of the first frame that has its own picture.
        stop_picture: number of the frame after the last one that has.
        sound_start: first sample of the sound; a multiple of 640.
        num_samples: number of samples of the sound, at 16 kHz.
        width: width of the pictures, in pixels.
        height: height of the pictures, in pixels.
    """

    start_s: float
    num_frames: int
    first_picture: int
    stop_picture: int
    sound_start: int
    num_samples: int
    width: int
    height: int

    @property
    def total_samples(self) -> int:
        """Samples from the first frame to the end of the last one."""
        return self.num_frames * SAMPLES_PER_FRAME


class Recording(Protocol):
    """A recording to separate.

    Attributes:
        name: name for people.
        timeline: position of pictures and sound.
        mixture: (total_samples,) float32 on disk, silent where there is no sound.
        notes: what a user should know of the recording, one sentence each.
    """

    name: str
    timeline: Timeline
    mixture: DiskArray
    notes: tuple[str, ...]

    def pictures(self, first: int, stop: int) -> Iterator[Picture]:
        """The pictures of frames first..stop; the first and last picture are repeated."""
        ...


class FileRecording:
    """A media file; its path is `path`.

    Args:
        path: path of the file.
        folder: folder for the decoded sound.

    Raises:
        UsageError: the file is missing or unreadable.
        CheckError: the file is damaged, has no picture or no sound, or its channel layout does not
            say which channels carry speech.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        from avsep.media.decode import stream_audio
        from avsep.media.mono import single_channel
        from avsep.media.probe import probe

        self.name, self.path = path.name, path
        try:
            info = probe(path)
            if not info.has_video:
                raise CheckError(f"{path.name} has no picture; voices are separated by faces.")
            if not info.has_audio:
                raise CheckError(f"{path.name} has no sound.")
            if info.channels not in CHANNELS:
                raise CheckError(
                    f"the sound of {path.name} has {info.channels} channels, and it is unclear"
                    " which carry speech; convert it to mono or stereo first."
                )
            self.mixture = DiskArray(folder / "mixture.f32", "float32")
            sound_s = peak = 0.0
            lead = 0
            for sound_s, samples in stream_audio(path):
                if not len(self.mixture):
                    lead = max(0, round((sound_s - info.video_start_s) * FPS))
                    _append_silence(self.mixture, lead * SAMPLES_PER_FRAME)
                self.mixture.append(samples.astype(np.float32) / np.float32(32768))
                peak = max(peak, peak_of(samples))
            only = single_channel(path)
        except ItemError as error:
            raise as_command_error(path, error) from error
        start_s = sound_s - lead / FPS
        sound_start = lead * SAMPLES_PER_FRAME
        num_samples = len(self.mixture) - sound_start
        if num_samples < 1:
            raise CheckError(f"the sound of {path.name} is empty.")
        check_not_silent(path, peak)
        self.notes: tuple[str, ...] = () if only is None else (channel_note(path, only),)
        pictures = math.ceil((info.video_end_s - start_s - _LATE_S) * FPS - 0.5)
        num_frames = max(1, pictures, math.ceil(len(self.mixture) / SAMPLES_PER_FRAME))
        first = math.floor((info.video_start_s - start_s + _LATE_S) * FPS)
        self.timeline = Timeline(
            start_s=start_s,
            num_frames=num_frames,
            first_picture=min(max(0, first), num_frames - 1),
            stop_picture=min(max(1, pictures), num_frames),
            sound_start=sound_start,
            num_samples=num_samples,
            width=info.width,
            height=info.height,
        )
        _append_silence(self.mixture, self.timeline.total_samples - len(self.mixture))

    def pictures(self, first: int, stop: int) -> Iterator[Picture]:
        """Frames first..stop; see `Recording`.

        Raises:
            CheckError: too many pictures cannot be decoded.
        """
        from avsep.media.decode import read_pictures

        try:
            yield from read_pictures(
                self.path, self.timeline.start_s + first / FPS, max(0, stop - first)
            )
        except ItemError as error:
            raise as_command_error(self.path, error) from error


@contextmanager
def opened_recording(path: Path, folder: Path) -> Iterator[FileRecording]:
    """A media file, normalised first where it cannot be decoded as it is.

    Raises:
        UsageError, CheckError: see `FileRecording`; normalising it takes too long or too much room.
    """
    with normalised(path, folder) as source:
        recording = FileRecording(source.path, folder)
        if source.note:
            recording.notes += (normalised_note(path, source),)
        yield recording


@contextmanager
def normalised(path: Path, folder: Path | None = None) -> Iterator[Readable]:
    """As `avsep.media.normalise.readable`, with the errors that end a command."""
    from avsep.media.normalise import readable

    with ExitStack() as stack:
        try:
            source = stack.enter_context(readable(path, folder))
        except ItemError as error:
            raise as_command_error(path, error) from error
        yield source


def normalised_note(path: Path, source: Readable) -> str:
    """What to tell about a file that was normalised."""
    return f"{path.name} was normalised with ffmpeg before it was decoded: {source.note}."


class ArrayRecording:
    """Arrays: frames at 25 per second, and sound that starts with the first frame.

    Args:
        frames: (F, H, W, 3) uint8 RGB.
        audio: (N,) float32 in -1..1, or int16.
        rate_hz: sampling rate of the sound; must be 16000.
        folder: folder for the sound.

    Raises:
        ValueError: a wrong shape, type or rate, or sound that is not finite.
    """

    def __init__(self, frames: np.ndarray, audio: np.ndarray, rate_hz: int, folder: Path) -> None:
        if rate_hz != RATE_HZ:
            raise ValueError(f"the sound has {rate_hz} samples per second; resample to {RATE_HZ}.")
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(f"frames are {frames.dtype} {frames.shape}; give uint8 (F, H, W, 3).")
        if audio.ndim != 1 or not len(audio):
            raise ValueError(f"the sound is {audio.shape}; give (N,), mono.")
        if audio.dtype == np.int16:
            audio = audio.astype(np.float32) / np.float32(32768)
        if not np.issubdtype(audio.dtype, np.floating) or not np.isfinite(audio).all():
            raise ValueError(f"the sound is {audio.dtype}; give finite floats, or int16.")
        self.name, self._frames = "frames", frames
        self.notes: tuple[str, ...] = ()
        num_frames = max(len(frames), math.ceil(len(audio) / SAMPLES_PER_FRAME))
        self.timeline = Timeline(
            start_s=0.0,
            num_frames=num_frames,
            first_picture=0,
            stop_picture=len(frames),
            sound_start=0,
            num_samples=len(audio),
            width=frames.shape[2],
            height=frames.shape[1],
        )
        self.mixture = DiskArray(folder / "mixture.f32", "float32")
        self.mixture.append(audio.astype(np.float32))
        _append_silence(self.mixture, self.timeline.total_samples - len(audio))

    def pictures(self, first: int, stop: int) -> Iterator[Picture]:
        """Frames first..stop; see `Recording`."""
        for index in range(first, stop):
            yield ArrayPicture(self._frames[min(index, len(self._frames) - 1)])


def peak_of(samples: np.ndarray) -> float:
    """The largest magnitude in a block of int16 samples, relative to full scale."""
    return float(np.abs(samples.astype(np.int32)).max(initial=0)) / 32768


def check_not_silent(path: Path, peak: float) -> None:
    """Raise a CheckError when nothing in a sound is louder than `SILENT_PEAK`."""
    if peak < SILENT_PEAK:
        raise CheckError(f"the sound of {path.name} is silent, so there is no voice to separate.")


def channel_note(path: Path, only: int) -> str:
    """What to tell about a sound of which one channel is used."""
    return (
        f"the channels of {path.name} cancel out when they are mixed; only channel {only + 1} is"
        " used."
    )


def checked_path(source: str | Path) -> Path:
    """The path of a local file that can be read.

    Raises:
        UsageError: it is an address or a folder, is missing, or cannot be read.
    """
    text = str(source)
    if "://" in text or text.lower().startswith(("http:", "https:", "rtsp:", "ftp:")):
        raise UsageError(f"{text} is an address; download the video and name the file.")
    path = Path(source)
    try:
        if path.is_dir():
            raise UsageError(f"{text} is a folder; name one video file.")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise UsageError(f"{text} does not exist.") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{text} cannot be read: {_cause(error)}.") from error
    return path


def _cause(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _append_silence(mixture: DiskArray, count: int) -> None:
    for start in range(0, count, RATE_HZ):
        mixture.append(np.zeros(min(RATE_HZ, count - start), np.float32))
