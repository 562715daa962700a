"""Cut, repair and mux files with the ffmpeg binary; PyAV does everything else.

ffmpeg-python builds the commands. They run as argument lists, on local files only, with a timeout,
a checked exit status and a limited error text.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

from avsep.errors import ItemError, Reason, UsageError
from avsep.files import atomic_path
from avsep.media.container import FORMATS

DEFAULT_TIMEOUT_S = 600.0
STDERR_LIMIT_BYTES = 300

_PROTOCOLS = "file,pipe"
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
    "c:v": "libx264",
    "crf": 18,
    "preset": "fast",
    # The AVX-512 code of x264 gives different bytes in each run.
    "x264-params": "cpu-independent=1",
    "pix_fmt": "yuv420p",
    # Pictures keep their time stamps; the default would move them onto a grid.
    "enc_time_base:v": "1/90000",
    "c:a": "aac",
    "b:a": "192k",
}


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


def cut(
    src: Path, dst: Path, start_s: float, end_s: float, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Write the span from `start_s` to `end_s` (seconds from the start of the file) to `dst`.

    The span is encoded again (H.264, AAC), so that it starts exactly there and not at the key
    picture before.

    Raises:
        ItemError: ffmpeg cannot read the file or takes too long.
        ValueError: the span is empty or negative.
    """
    if not 0 <= start_s < end_s:
        raise ValueError(f"the span is {start_s} to {end_s} s; it needs 0 <= start < end.")
    source = _input(src, ss=f"{start_s:.6f}", t=f"{end_s - start_s:.6f}")
    with atomic_path(dst) as temporary:
        _run(_output([source], temporary, _ENCODING), src, timeout_s)


def repair(src: Path, dst: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
    """Repair a damaged file: copy its packets or, if that does not help, encode it again.

    Returns:
        `copied` where new time stamps and a new index were enough, otherwise `encoded`.

    Raises:
        ItemError: nothing can be recovered, or ffmpeg takes too long.
    """
    tolerant: dict[str, Any] = {"fflags": "+genpts+discardcorrupt", "err_detect": "ignore_err"}
    with atomic_path(dst) as temporary:
        with contextlib.suppress(ItemError):
            _run(_output([_input(src, **tolerant)], temporary, {"c": "copy"}), src, timeout_s)
            if _decodes(temporary, timeout_s):
                return "copied"
        _run(_output([_input(src, **tolerant)], temporary, _ENCODING), src, timeout_s)
        return "encoded"


def mux(video: Path, audio: Path, dst: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
    """Combine the video of one file with the sound of another; the video is copied.

    Raises:
        ItemError: ffmpeg cannot read a file or takes too long.
    """
    inputs = [_input(video)["v:0"], _input(audio, audio=True)["a:0"]]
    options = {"c:v": "copy", "c:a": "aac", "b:a": "192k"}
    with atomic_path(dst) as temporary:
        _run(_output(inputs, temporary, options), video, timeout_s)


def _input(path: Path, *, audio: bool = False, **options: Any) -> Any:
    import ffmpeg

    formats = FORMATS + (",wav,flac,mp3,aac" if audio else "")
    return ffmpeg.input(
        f"file:{path.absolute()}",
        protocol_whitelist=_PROTOCOLS,
        format_whitelist=formats,
        **options,
    )


def _output(inputs: list[Any], path: Path, options: dict[str, Any]) -> Any:
    import ffmpeg

    return ffmpeg.output(*inputs, f"file:{path.absolute()}", **(_PLAIN_OUTPUT | options))


def _decodes(path: Path, timeout_s: float) -> bool:
    """Whether every packet of a file decodes without an error."""
    import ffmpeg

    check = ffmpeg.output(_input(path, err_detect="explode"), "-", f="null")
    try:
        return not _run(check.global_args("-xerror"), path, timeout_s)
    except ItemError as error:
        if error.reason is Reason.TIMED_OUT:
            raise
        return False


def _run(stream: Any, source: Path, timeout_s: float) -> str:
    """Run a command; returns the end of its error text."""
    command = [str(part) for part in stream.global_args(*_GLOBAL).compile(cmd=binary())]
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
        raise ItemError(Reason.UNDECODABLE, f"ffmpeg ended with {status} on {source.name}: {text}")
    return text


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
