"""Read files that PyAV cannot read straight with the ffmpeg binary; PyAV does everything else.

ffmpeg-python builds the commands. They run as argument lists, on local files only, with a timeout,
a checked exit status and a limited error text.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from avsep.errors import FULL_CODES, ItemError, Reason, UsageError, disk_item_error
from avsep.files import atomic_path
from avsep.media.container import FORMATS, MAX_DURATION_S

DEFAULT_TIMEOUT_S = 600.0
MAX_BYTES = 8 << 30  # of a file that ffmpeg writes
STDERR_LIMIT_BYTES = 300
_STOPPED = 255  # exit status after a signal that ffmpeg handles, as that of its own time limit
_OF_THE_DISK = (*FULL_CODES, errno.EROFS)

_PROTOCOLS = "file"
_GLOBAL = ("-nostdin", "-hide_banner", "-loglevel", "error", "-y")
# No versions, dates or tags of the source in the file: the same input gives the same bytes.
_PLAIN_OUTPUT: dict[str, Any] = {
    "map_metadata": -1,
    "fflags": "+bitexact",
    "flags:v": "+bitexact",
    "flags:a": "+bitexact",
    "threads": 1,
}
_ENCODING: dict[str, Any] = {
    "f": "matroska",
    "fs": MAX_BYTES,
    "c:v": "libx264",
    "crf": 18,
    "preset": "veryfast",
    "bf": 0,
    "g": 12,
    "sc_threshold": 0,
    # The AVX-512 code of x264 gives different bytes in each run.
    "x264-params": "cpu-independent=1",
    "pix_fmt": "yuv420p",
    # Pictures keep their time stamps; the default would move them onto a grid.
    "enc_time_base:v": "1/90000",
    "fps_mode": "vfr",
    "c:a": "pcm_s16le",
}
# Square pixels; see `avsep.media.geometry` for the limits.
_SQUARE_WIDTH = "max(1,round(iw*if(between(sar,1/3,3),sar,1)))"


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file for ffmpeg.

    Attributes:
        path: path of the file.
        video: index of the stream of pictures.
        audio: index of the stream of sound.
    """

    path: Path
    video: int
    audio: int


def binary() -> str:
    """The ffmpeg binary: `FFMPEG_BINARY`, else the one of imageio-ffmpeg, else the system's.

    The pinned binary comes before the system's: results must not depend on what is installed.

    Raises:
        UsageError: `FFMPEG_BINARY` is not a program, or there is no ffmpeg at all.
    """
    if named := os.environ.get("FFMPEG_BINARY"):
        found = shutil.which(named)
        if found is None:
            raise UsageError(f"FFMPEG_BINARY is {named!r}, which is not a program; unset it.")
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        if found := shutil.which("ffmpeg"):
            return found
        raise UsageError(
            "ffmpeg was not found: `pip install imageio-ffmpeg`, install the system's,"
            " or set FFMPEG_BINARY."
        ) from error


def remake(
    inputs: Sequence[Input],
    dst: Path,
    size: tuple[int, int],
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> None:
    """Decode files with ffmpeg and write them, one after the other, as one file to `dst`.

    Pictures are H.264 and keep their time stamps; a side of an odd number of pixels gets a black
    line. Sound is not compressed, and the container is Matroska, whatever the name of `dst`. ffmpeg
    guesses what PyAV takes as it is written: stamps that are wrong, and the distance of sound and
    pictures within each file.

    Args:
        inputs: the files, with the streams to take.
        dst: path of the file to write.
        size: width and height that pictures of several files are brought to, in pixels.
        timeout_s: longest time that ffmpeg may take, in seconds.

    Raises:
        ItemError: ffmpeg cannot read a file, takes too long, writes too much, or is killed; or
            the disk is full.
    """
    import ffmpeg

    sources = [_input(one.path) for one in inputs]
    streams = [
        source[str(index)] for one, source in zip(inputs, sources, strict=True)
        for index in (one.video, one.audio)
    ]  # fmt: skip
    if len(inputs) > 1:
        width, height = size
        for place in range(0, len(streams), 2):
            square = streams[place].filter("scale", _SQUARE_WIDTH, "ih").filter("setsar", 1)
            fitted = square.filter("scale", width, height, force_original_aspect_ratio="decrease")
            streams[place] = fitted.filter("pad", width, height, -1, -1).filter("setsar", 1)
        node = ffmpeg.concat(*streams, v=1, a=1).node
        streams = [node[0], node[1]]
    else:  # the encoder needs even sides
        streams[0] = streams[0].filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
    # Whatever is longer than allowed is still so, and is refused.
    options = _ENCODING | {"t": MAX_DURATION_S + 1}
    with atomic_path(dst) as temporary:
        _run(_output(streams, temporary, options), inputs[0].path, timeout_s)
        if temporary.stat().st_size >= MAX_BYTES:
            raise ItemError(
                Reason.TOO_LONG, f"normalised, it is larger than {MAX_BYTES >> 30} GiB."
            )


def _input(path: Path) -> Any:
    import ffmpeg

    return ffmpeg.input(
        f"file:{path.absolute()}",
        protocol_whitelist=_PROTOCOLS,
        format_whitelist=FORMATS,
        fflags="+genpts+discardcorrupt",
        err_detect="ignore_err",
        threads=1,
    )


def _output(inputs: list[Any], path: Path, options: dict[str, Any]) -> Any:
    import ffmpeg

    return ffmpeg.output(*inputs, f"file:{path.absolute()}", **(_PLAIN_OUTPUT | options))


def _run(stream: Any, source: Path, timeout_s: float) -> None:
    # It ends by itself too, should this process be killed.
    limits = ("-timelimit", f"{math.ceil(timeout_s)}")
    command = [str(part) for part in stream.global_args(*_GLOBAL, *limits).compile(cmd=binary())]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    tail = _Tail(process.stderr)
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ItemError(
            Reason.TIMED_OUT, f"ffmpeg took more than {timeout_s:g} s on {source.name}."
        ) from error
    finally:
        process.kill()
        process.wait()
        text = tail.text()
    if status != 0:
        raise _failure(status, text, source, timeout_s)


def _failure(status: int, text: str, source: Path, timeout_s: float) -> ItemError:
    """What an exit status says: the file cannot be read, or the circumstances were at fault."""
    if status in (_STOPPED, -signal.SIGXCPU):
        return ItemError(
            Reason.TIMED_OUT,
            f"ffmpeg was stopped on {source.name}; it may take {timeout_s:g} s of processor time.",
        )
    if status == -signal.SIGXFSZ:
        status = 256 - errno.EFBIG
    if status < 0:
        return ItemError(Reason.WORKER_DIED, f"signal {-status} ended ffmpeg on {source.name}.")
    for code in _OF_THE_DISK:
        if (256 - status == code or os.strerror(code) in text) and (
            fault := disk_item_error(OSError(code, os.strerror(code)))
        ):
            return fault
    return ItemError(Reason.UNDECODABLE, f"ffmpeg ended with {status} on {source.name}: {text}")


class _Tail:
    """Reads a pipe to its end, and keeps the last bytes."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self._pipe, self._kept = pipe, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while self._pipe and (chunk := self._pipe.read(STDERR_LIMIT_BYTES)):
            self._kept = (self._kept + chunk)[-STDERR_LIMIT_BYTES:]

    def text(self) -> str:
        """The last bytes as one line of text; waits for the end of the pipe."""
        self._thread.join(timeout=5)
        return " ".join(self._kept.decode("utf-8", "replace").split())
