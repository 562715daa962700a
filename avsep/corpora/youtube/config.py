"""Settings of downloads from YouTube."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from avsep.validation import check_at_least, check_positive, check_range

COOKIES_VARIABLE = "AVSEP_YOUTUBE_COOKIES"
TERMS = (
    "YouTube's terms of service forbid downloads without its or the owner's permission, and the"
    " videos belong to their owners. Set download.youtube.allowed to true only if you have that"
    " permission, or the law of your country gives it to you (research exceptions differ)."
)


@dataclass(frozen=True, kw_only=True)
class YouTubeConfig:
    """Settings of downloads from YouTube.

    Cookies are not a setting: the environment variable AVSEP_YOUTUBE_COOKIES may name a file of
    cookies. By default none are sent, since an account that downloads in bulk gets blocked.

    Attributes:
        allowed: that you may download: YouTube's terms forbid it without permission, and the
            videos belong to their owners.
        max_height: largest height of the picture to download, in pixels.
        max_megabytes: size limit per video.
        max_duration_s: duration limit per video.
        rate_limit_mb_s: most megabytes per second and worker.
        at_once: most videos in parallel, however many workers the stage has.
        sleep_s: shortest and longest pause before each video.
        tries: attempts per video for failures that may pass.
        unknown_tries: attempts per video for failures with an unrecognised message.
        retry_delay_s: pause before the second attempt; it doubles with each further one.
        burst: number of videos refused (HTTP 403) in a row that counts as throttling.
        pause_s: pause of all workers when YouTube throttles; it doubles while throttling goes on.
        max_pause_s: longest of these pauses.
        max_pauses: number of pauses in a row after which the remaining videos fail as throttled.
        broken_after: number of videos in a row that yt-dlp cannot read after which the run stops.
        socket_timeout_s: longest wait for an answer of the server.
        box_scale: side of the square to cut out, divided by the longer side of the annotated box.
        size: side of the pictures written, in pixels.
        aspect_tolerance: largest relative difference between the aspect ratio of the video and
            the annotated one.
        keep_sources: keep the videos after their clips are cut.
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
        check_at_least(self, 1, "max_height", "max_megabytes", "at_once", "tries", "unknown_tries")
        check_at_least(self, 1, "burst", "max_pauses", "broken_after")
        check_positive(self, "max_duration_s", "rate_limit_mb_s", "max_pause_s", "socket_timeout_s")
        check_at_least(self, 0, "retry_delay_s", "pause_s", "aspect_tolerance")
        if not 0 <= self.sleep_s[0] <= self.sleep_s[1] < math.inf:
            raise ValueError(f"sleep_s is {self.sleep_s}; it must be 0 <= shortest <= longest.")
        check_range(self, 1, 4, "box_scale")
        check_range(self, 64, 1024, "size")
        if self.size % 2:
            raise ValueError(f"size is {self.size}; it must be even.")


def secrets() -> tuple[str, ...]:
    """Texts that must not appear in logs: the path of the file of cookies."""
    return tuple(filter(None, (os.environ.get(COOKIES_VARIABLE),)))
