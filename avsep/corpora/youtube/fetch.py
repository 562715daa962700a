"""One video with yt-dlp: our address, our options, nothing of the user's configuration."""

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
from avsep.corpora.youtube.messages import Trouble, classify, tidy
from avsep.errors import CheckError, UsageError
from avsep.files import read_json, sha256_file, write_json

VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
JS_RUNTIMES = ("deno", "node", "bun", "quickjs")
_PROGRAMS = {"quickjs": "qjs"}
MAX_COOKIE_BYTES = 4 << 20


def watch_address(video: str) -> str:
    """The address of a video, made by us from its id alone.

    Raises:
        ValueError: it is no id.
    """
    if not VIDEO_ID.fullmatch(video):
        raise ValueError(f"{video!r} is no YouTube id.")
    return f"https://www.youtube.com/watch?v={video}"


@dataclass(frozen=True)
class Site:
    """Where videos come from.

    Attributes:
        address: of a video, by its id.
        extractors: of yt-dlp that may be used.
    """

    address: Callable[[str], str] = watch_address
    extractors: tuple[str, ...] = ("youtube",)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A downloaded video.

    Attributes:
        file: its name in its folder.
        sha256: of its bytes.
        size_bytes: of the file.
        format_id: as the site calls it.
        tool: version of yt-dlp.
    """

    file: str
    sha256: str
    size_bytes: int
    format_id: str
    tool: str


class VideoError(Exception):
    """A video could not be had."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(trouble, message)
        self.trouble = trouble
        self.message = message


def fetch_video(
    video: str, folder: Path, config: YouTubeConfig, site: Site, breaker_folder: Path
) -> Source:
    """Download one video into `folder`, or find it there.

    A download that was cut goes on where it was.

    Raises:
        VideoError: it could not be had.
    """
    if (found := _finished(folder)) is not None:
        return found
    if breaker.is_open(breaker_folder):
        raise VideoError(Trouble.WAITING, "everything waits")
    import yt_dlp

    folder.mkdir(parents=True, exist_ok=True)
    log = _Log()
    reasons: list[str] = []
    options = _options(folder, config, site, log, breaker_folder, reasons)
    _no_plugins()
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            info = downloader.extract_info(site.address(video), download=True)
    except _StopNow as error:
        raise VideoError(Trouble.WAITING, "everything waits") from error
    except yt_dlp.utils.YoutubeDLError as error:
        if isinstance(error.__cause__, _StopNow) or breaker.is_open(breaker_folder):
            raise VideoError(Trouble.WAITING, "everything waits") from error
        text = str(error)
        raise VideoError(classify(text), tidy(text, secrets())) from error
    # What was left out for its size is listed as well, without a path.
    entries = (info or {}).get("requested_downloads") or ()
    done = [Path(entry["filepath"]) for entry in entries if entry.get("filepath")]
    files = [path for path in done if path.is_file() and path.parent == folder]
    if not files:
        text = " ".join(reasons or log.lines) or "there is no file in the end"
        raise VideoError(classify(text), tidy(text, secrets()))
    source = Source(
        file=files[0].name,
        sha256=sha256_file(files[0]),
        size_bytes=files[0].stat().st_size,
        format_id=str(info.get("format_id") or ""),
        tool=str(yt_dlp.version.__version__),
    )
    write_json(folder / "source.json", asdict(source))
    return source


def forget_video(folder: Path) -> None:
    """Remove a downloaded video."""
    shutil.rmtree(folder, ignore_errors=True)


def _finished(folder: Path) -> Source | None:
    try:
        source = Source(**read_json(folder / "source.json"))
        path = folder / source.file
        whole = path.parent == folder and path.stat().st_size == source.size_bytes
    except (CheckError, TypeError, OSError):
        return None
    return source if whole else None


class _StopNow(Exception):  # noqa: N818
    """Raised inside yt-dlp when everything is to wait."""


class _Log:
    """What yt-dlp says; kept for the reason of a failure, printed nowhere."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str) -> None:
        """Chatter, of which one sentence matters."""
        if "larger than max-filesize" in message:
            self.lines.append(f"over the cap: {message}")

    def info(self, message: str) -> None:
        """Likewise."""
        self.debug(message)

    def warning(self, message: str) -> None:
        """Left out: what fails comes as an error too."""

    def error(self, message: str) -> None:
        """An error."""
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

    def fits(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        duration_s = info.get("duration")
        if duration_s is not None and duration_s > config.max_duration_s:
            reasons.append(f"over the cap: it lasts {duration_s:.0f} s")
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
        "match_filter": fits,
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
        "js_runtimes": {name: {} for name in found_runtimes()},
    }
    if (cookies := read_cookies()) is not None:
        # A stream, so that yt-dlp writes what the site sets into memory, not into the user's file.
        options["cookiefile"] = io.StringIO(cookies)
    return options


def found_runtimes() -> list[str]:
    """JavaScript runtimes of this machine that yt-dlp knows; YouTube needs one."""
    return [name for name in JS_RUNTIMES if shutil.which(_PROGRAMS.get(name, name))]


def read_cookies() -> str | None:
    """The cookies of the file that the environment names; None where it names none.

    Raises:
        UsageError: the file cannot be read; its name is not told.
    """
    name = os.environ.get(COOKIES_VARIABLE)
    if not name:
        return None
    try:
        with Path(name).open(encoding="utf-8") as handle:
            return handle.read(MAX_COOKIE_BYTES)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"the file that {COOKIES_VARIABLE} names cannot be read.") from error


def _no_plugins() -> None:
    """Keep yt-dlp from loading code that lies about in the user's folders."""
    from yt_dlp.globals import plugin_dirs

    plugin_dirs.value = []
