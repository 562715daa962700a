"""Put the coded pictures of one file and the sound of a WAVE or FLAC file into one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason, disk_fault
from avsep.files import atomic_path
from avsep.media.container import MAX_DURATION_S, open_local

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 4096  # samples per packet of sound
_LAYOUTS = {1: "mono", 2: "stereo"}


def join_sound(pictures: Path, sound: Path, target: Path) -> None:
    """Write a QuickTime file with the pictures of one file, as they are, and the sound of another.

    Both start at time 0 of their files. The sound is 16-bit PCM at its own rate.

    Args:
        pictures: path of the file with the pictures; its own sound is left out.
        sound: path of the file with the sound, of one or two channels.
        target: path of the file to write, atomically.

    Raises:
        ItemError: a file cannot be opened, or holds no such stream.
        OSError: the disk is full or fails.
    """
    import av

    samples, rate_hz = _read(sound)
    with open_local(pictures) as source:
        if not source.streams.video:
            raise ItemError(Reason.NO_VIDEO, f"{pictures.name} has no pictures.")
        try:
            options = {"fflags": "+bitexact"}
            with (
                atomic_path(target) as temporary,
                # Not by PyAV: its files stay open when the disk fills up, and hold its space.
                temporary.open("wb") as file,
                av.open(file, "w", format="mov", options=options) as out,
            ):
                copy = out.add_stream_from_template(source.streams.video[0])
                voice: Any = out.add_stream("pcm_s16le", rate=rate_hz)
                voice.codec_context.layout = _LAYOUTS[samples.shape[1]]
                for packet in source.demux(source.streams.video[0]):
                    if packet.dts is not None:
                        packet.stream = copy
                        out.mux(packet)
                for start in range(0, len(samples), _BLOCK):
                    block = samples[start : start + _BLOCK].reshape(1, -1).copy()
                    frame = av.AudioFrame.from_ndarray(
                        block, format="s16", layout=_LAYOUTS[samples.shape[1]]
                    )
                    frame.sample_rate, frame.pts = rate_hz, start
                    frame.time_base = Fraction(1, rate_hz)
                    out.mux(voice.encode(frame))
                out.mux(voice.encode(None))
        except (av.FFmpegError, ValueError) as error:
            if disk_fault(error):
                raise
            raise ItemError(
                Reason.UNDECODABLE, f"{pictures.name} and {sound.name} do not go into one file."
            ) from error


def _read(path: Path) -> tuple[np.ndarray, int]:
    """The samples of a sound file, (N, channels) int16, and their rate."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            if file.channels not in _LAYOUTS:
                raise ItemError(Reason.UNDECODABLE, f"{path.name} has {file.channels} channels.")
            if file.frames > MAX_DURATION_S * file.samplerate:
                raise ItemError(Reason.TOO_LONG, f"{path.name} is longer than {MAX_DURATION_S} s.")
            return file.read(dtype="int16", always_2d=True), file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise ItemError(Reason.UNDECODABLE, f"{path.name} is not a sound file.") from error
