"""Download one video with yt-dlp: our address, our options, and no configuration of the user."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avsep.corpora.youtube import breaker
from avsep.corpora.youtube.config import COOKIES_VARIABLE, YouTubeConfig, secrets
from avsep.corpora.youtube.messages import Failure, classify, clean_message
from avsep.errors import CheckError, UsageError, disk_item_error
from avsep.files import read_json, sha256_file, write_json

VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
JS_RUNTIMES = ("deno", "node", "bun", "quickjs")
_PROGRAMS = {"quickjs": "qjs"}
MAX_COOKIE_BYTES = 4 << 20


def watch_address(video: str) -> str:
    """The address of a video, built from its id only.

    Raises:
        ValueError: it is not an id.
    """
    if not VIDEO_ID.fullmatch(video):
        raise ValueError(f"{video!r} is not a YouTube id.")
    return f"https://www.youtube.com/watch?v={video}"


@dataclass(frozen=True)
class Site:
    """Where videos come from.

    Attributes:
        address: gives the address of a video for its id.
        extractors: the extractors of yt-dlp that may be used.
    """

    address: Callable[[str], str] = watch_address
    extractors: tuple[str, ...] = ("youtube",)


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A downloaded video.

    Attributes:
        file: file name in the folder of the video.
        sha256: hash of the file.
        size_bytes: size of the file.
        format_id: name of the format, as the site calls it.
        tool: version of yt-dlp.
    """

    file: str
    sha256: str
    size_bytes: int
    format_id: str
    tool: str


class VideoError(Exception):
    """The video could not be downloaded.

    Attributes:
        failure: the kind of failure.
        message: one sentence for a person.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(failure, message)
        self.failure = failure
        self.message = message


def download_video(
    video: str, folder: Path, config: YouTubeConfig, site: Site, breaker_folder: Path
) -> VideoFile:
    """Download one video into `folder`, unless it is already there.

    An interrupted download continues where it was.

    Args:
        video: YouTube id.
        folder: folder of this video.
        config: settings of downloads.
        site: where the video comes from.
        breaker_folder: folder with the state of the breaker.

    Raises:
        VideoError: the video could not be downloaded.
    """
    if (found := _finished(folder)) is not None:
        return found
    if breaker.is_open(breaker_folder):
        raise VideoError(Failure.WAITING, "all downloads are paused")
    import yt_dlp

    folder.mkdir(parents=True, exist_ok=True)
    log = _Log()
    reasons: list[str] = []
    options = _options(folder, config, site, log, breaker_folder, reasons)
    _disable_plugins()
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(site.address(video), download=True)
    except _StopNow as error:
        raise VideoError(Failure.WAITING, "all downloads are paused") from error
    except yt_dlp.utils.YoutubeDLError as error:
        if isinstance(error.__cause__, _StopNow) or breaker.is_open(breaker_folder):
            raise VideoError(Failure.WAITING, "all downloads are paused") from error
        if (fault := disk_item_error(error)) is not None:
            raise fault from error
        text = str(error)
        raise VideoError(classify(text), clean_message(text, secrets())) from error
    # A video that is too large is listed too, but without a path.
    entries = (info or {}).get("requested_downloads") or ()
    done = [Path(entry["filepath"]) for entry in entries if entry.get("filepath")]
    files = [path for path in done if path.is_file() and path.parent == folder]
    if not files:
        text = " ".join(reasons or log.lines) or "yt-dlp wrote no file"
        raise VideoError(classify(text), clean_message(text, secrets()))
    source = VideoFile(
        file=files[0].name,
        sha256=sha256_file(files[0]),
        size_bytes=files[0].stat().st_size,
        format_id=str(info.get("format_id") or ""),
        tool=str(yt_dlp.version.__version__),
    )
    write_json(folder / "source.json", asdict(source))
    return source


def remove_video(folder: Path) -> None:
    """Remove a downloaded video."""
    shutil.rmtree(folder, ignore_errors=True)


def _finished(folder: Path) -> VideoFile | None:
    """The video of an earlier download, if it is complete."""
    try:
        source = VideoFile(**read_json(folder / "source.json"))
        path = folder / source.file
        whole = path.parent == folder and path.stat().st_size == source.size_bytes
    except (CheckError, TypeError, OSError):
        return None
    return source if whole else None


class _StopNow(Exception):  # noqa: N818
    """Raised inside yt-dlp when all downloads must pause."""


class _Log:
    """Collects the messages of yt-dlp, which explain a failure. Nothing is printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str) -> None:
        """Only the message about a video that is too large matters."""
        if "larger than max-filesize" in message:
            self.lines.append(f"over our limit: {message}")

    def info(self, message: str) -> None:
        """Treat it like a debug message, since yt-dlp mixes the two."""
        self.debug(message)

    def warning(self, message: str) -> None:
        """Ignore it: a failure is reported as an error too."""

    def error(self, message: str) -> None:
        """Keep it."""
        self.lines.append(message)


def _options(
    folder: Path,
    config: YouTubeConfig,
    site: Site,
    log: _Log,
    breaker_folder: Path,
    reasons: list[str],
) -> dict[str, Any]:
    from avsep.media.ffmpeg import binary

    def reason_to_skip(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        duration_s = info.get("duration")
        if duration_s is not None and duration_s > config.max_duration_s:
            reasons.append(f"over our limit: the video lasts {duration_s:.0f} s")
            return reasons[-1]
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            reasons.append("this live stream is not over")
            return reasons[-1]
        return None

    def stop_when_throttled(_: dict[str, Any]) -> None:
        if breaker.is_open(breaker_folder):
            raise _StopNow

    height = f"[height<=?{config.max_height}]"
    options: dict[str, Any] = {
        "format": f"bv*{height}[ext=mp4]+ba[ext=m4a]/b{height}/bv*{height}+ba",
        "outtmpl": {"default": str(folder).replace("%", "%%") + "/source.%(ext)s"},
        "allowed_extractors": list(site.extractors),
        "noplaylist": True,
        "playlist_items": "1",
        "match_filter": reason_to_skip,
        "progress_hooks": [stop_when_throttled],
        "logger": log,
        "quiet": True,
        "noprogress": True,
        "cachedir": False,
        "usenetrc": False,
        "netrc_cmd": None,
        "enable_file_urls": False,
        "allow_playlist_files": False,
        "postprocessors": [],
        "external_downloader": None,
        "hls_prefer_native": True,
        "continuedl": True,
        "overwrites": False,
        "retries": 1,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "socket_timeout": config.socket_timeout_s,
        "max_filesize": config.max_megabytes * 1_000_000,
        "ratelimit": config.rate_limit_mb_s * 1_000_000,
        "sleep_interval": config.sleep_s[0],
        "max_sleep_interval": config.sleep_s[1],
        "ffmpeg_location": binary(),
        "js_runtimes": {name: {} for name in installed_runtimes()},
    }
    if (cookies := read_cookies()) is not None:
        # A stream, so that yt-dlp writes new cookies to memory and not to the user's file.
        options["cookiefile"] = io.StringIO(cookies)
    return options


def installed_runtimes() -> list[str]:
    """The JavaScript runtimes on this machine that yt-dlp can use; YouTube needs one."""
    return [name for name in JS_RUNTIMES if shutil.which(_PROGRAMS.get(name, name))]


def solver_version() -> str:
    """The version of the package that solves YouTube's challenges, which yt-dlp may not download.

    Raises:
        UsageError: it is missing, or it is not of the version that yt-dlp accepts.
    """
    from yt_dlp.dependencies import yt_dlp_ejs
    from yt_dlp.extractor.youtube.jsc._builtin.vendor import VERSION

    found = yt_dlp_ejs.version if yt_dlp_ejs else "missing"
    if found.split(".")[:2] != VERSION.split(".")[:2]:
        raise UsageError(
            f"yt-dlp-ejs, which solves YouTube's challenges, is {found}; yt-dlp needs {VERSION}:"
            f" `pip install yt-dlp-ejs=={VERSION}`"
        )
    return str(found)


def read_cookies() -> str | None:
    """The cookies in the file that the environment variable names; None if it names none.

    Raises:
        UsageError: the file cannot be read. The message does not contain its path.
    """
    name = os.environ.get(COOKIES_VARIABLE)
    if not name:
        return None
    try:
        with Path(name).open(encoding="utf-8") as handle:
            return handle.read(MAX_COOKIE_BYTES)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"the file that {COOKIES_VARIABLE} names cannot be read.") from error


def _disable_plugins() -> None:
    """Keep yt-dlp from loading plugins from the user's folders."""
    from yt_dlp.globals import plugin_dirs

    plugin_dirs.value = []
