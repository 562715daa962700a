"""Settings of downloads from YouTube."""

from __future__ import annotations

import os
from dataclasses import dataclass

COOKIES_VARIABLE = "AVSEP_YOUTUBE_COOKIES"
TERMS = (
    "YouTube's terms of service forbid downloads without its or the owner's permission, and the"
    " videos belong to their owners. Set download.youtube.allowed to true only if you have that"
    " permission, or the law of your country gives it to you (research exceptions differ)."
)


@dataclass(frozen=True, kw_only=True)
class YouTubeConfig:
    """Settings of downloads from YouTube.

    Cookies are never a setting: the environment variable AVSEP_YOUTUBE_COOKIES may name a file of
    them. An account that is used in bulk gets blocked, so by default there are none.

    Attributes:
        allowed: that you may download: YouTube's terms forbid it without permission, and the
            videos belong to their owners.
        max_height: of the picture, in pixels.
        max_megabytes: of one video.
        max_duration_s: of one video.
        rate_limit_mb_s: megabytes a second for one worker.
        at_once: most videos at a time, however many workers the stage has.
        sleep_s: least and most pause before each video.
        tries: attempts at a video that meets trouble which may pass.
        unknown_tries: attempts at one whose trouble is unknown, before it is parked.
        retry_delay_s: before the second attempt; doubles.
        burst: so many videos refused (HTTP 403) without a success between are throttling.
        pause_s: of all workers when YouTube throttles; doubles each time that it still does.
        max_pause_s: longest of these pauses.
        max_pauses: in a row, before the rest is left for another run.
        broken_after: so many videos in a row that yt-dlp cannot read stop the run.
        socket_timeout_s: of one answer of the server.
        box_scale: side of the square that is cut out over the longer side of the annotated box.
        size: of the pictures written, in pixels.
        aspect_tolerance: how far the picture's width over height may be from the annotated one.
        keep_sources: keep the videos once their clips are cut.
    """

    allowed: bool = False
    max_height: int = 720
    max_megabytes: int = 2000
    max_duration_s: float = 4 * 3600.0
    rate_limit_mb_s: float = 4.0
    at_once: int = 2
    sleep_s: tuple[float, float] = (5.0, 10.0)
    tries: int = 4
    unknown_tries: int = 2
    retry_delay_s: float = 10.0
    burst: int = 3
    pause_s: float = 900.0
    max_pause_s: float = 4 * 3600.0
    max_pauses: int = 8
    broken_after: int = 3
    socket_timeout_s: float = 30.0
    box_scale: float = 1.4
    size: int = 224
    aspect_tolerance: float = 0.03
    keep_sources: bool = False

    def __post_init__(self) -> None:
        for name in ("max_height", "max_megabytes", "at_once", "tries", "unknown_tries", "burst",
                     "max_pauses", "broken_after"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("max_duration_s", "rate_limit_mb_s", "max_pause_s", "socket_timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in ("retry_delay_s", "pause_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if not 0 <= self.sleep_s[0] <= self.sleep_s[1]:
            raise ValueError(f"sleep_s is {self.sleep_s}; 0 <= least <= most is needed.")
        if self.size % 2 or not 64 <= self.size <= 1024:
            raise ValueError(f"size is {self.size}; it must be even and in 64..1024.")
        if not 1 <= self.box_scale <= 4:
            raise ValueError(f"box_scale is {self.box_scale}; it must be in 1..4.")


def secrets() -> tuple[str, ...]:
    """What must be in no log: the value of the variable that names the cookies."""
    return tuple(filter(None, (os.environ.get(COOKIES_VARIABLE),)))
