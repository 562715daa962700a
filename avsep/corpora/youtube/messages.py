"""What a message of yt-dlp means for the video and for the run.

An unrecognised message never makes a video count as gone: a throttled session gets messages about
existing videos that look as if they were deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from avsep.errors import Reason

MESSAGE_LIMIT = 300


class Failure(StrEnum):
    """Why a video could not be downloaded or cut."""

    GONE = "gone"  # it will not come back
    CHANGED = "changed"  # it exists, but is not the annotated one
    RESTRICTED = "restricted"  # by age, country or membership, or by a limit in our settings
    THROTTLED = "throttled"  # too many requests: all downloads must pause
    REFUSED = "refused"  # a single refusal may pass, many in a row are throttling
    TRANSIENT = "transient"  # it may work later
    BROKEN = "broken"  # yt-dlp no longer understands the site
    UNKNOWN = "unknown"  # the message is not recognised
    CUT = "cut"  # the video was downloaded, but cutting it failed
    WAITING = "waiting"  # not tried, since all downloads are paused

    @property
    def reason(self) -> Reason:
        """How the clips of the video end if no further attempt is made."""
        return _REASONS[self]


_REASONS = {
    Failure.GONE: Reason.VIDEO_GONE,
    Failure.CHANGED: Reason.VIDEO_CHANGED,
    Failure.RESTRICTED: Reason.RESTRICTED,
    Failure.THROTTLED: Reason.THROTTLED,
    Failure.REFUSED: Reason.NETWORK,
    Failure.TRANSIENT: Reason.NETWORK,
    Failure.BROKEN: Reason.UNRECOGNISED,
    Failure.UNKNOWN: Reason.UNRECOGNISED,
    Failure.CUT: Reason.CUT_FAILED,
    Failure.WAITING: Reason.THROTTLED,
}

# The first pattern that matches decides. Throttling is first, since its messages begin like those
# about videos that are gone.
_PATTERNS: tuple[tuple[Failure, str], ...] = (
    (
        Failure.THROTTLED,
        r"HTTP Error 429|too many requests|confirm you.?re not a bot|try again later"
        r"|rate.?limited|session has been rate|ip is likely being blocked|unusual traffic|captcha",
    ),
    (
        Failure.BROKEN,
        r"signature extraction failed|nsig extraction failed|n challenge solving failed"
        r"|unable to extract (?!uploader)|cannot identify player|no supported javascript runtime"
        r"|failed to extract any player response|failed to parse json"
        r"|only images are available|requested format is not available|no video formats found"
        r"|unsupported url",
    ),
    (
        Failure.RESTRICTED,
        r"confirm your age|age.?restricted|inappropriate for some users|members.only"
        r"|join this channel|available in your (country|location)|blocked it in your country"
        r"|not made this video available in your|premieres? (in|will)|live event will begin"
        r"|rental|requires payment|music premium|drm protected|login required|sign in to view"
        r"|this live stream|over our limit",
    ),
    (
        Failure.GONE,
        r"private video|video is private|removed by the (uploader|user)|has been removed"
        r"|no longer available because|account (associated|.*terminated)|has been terminated"
        r"|copyright (claim|infringement|grounds)|no longer available due to"
        r"|violat(es|ed|ing|ion of) youtube|video (does not|doesn.?t) exist|video has been deleted"
        r"|HTTP Error (404|410)|isn.?t available anymore|incomplete youtube id|truncated",
    ),
    (Failure.REFUSED, r"HTTP Error 403|this content isn.?t available"),
    (
        Failure.TRANSIENT,
        r"HTTP Error (408|5\d\d)|timed? ?out|connection (reset|refused|aborted|broken)"
        r"|remote end closed|incomplete ?read|bytes read|more expected|content too short"
        r"|temporary failure|name resolution|network is unreachable|broken pipe|ssl|tls"
        r"|did not get any data|fragment|server disconnected|giving up after|unable to connect",
    ),
)
_COMPILED = tuple((failure, re.compile(text, re.IGNORECASE)) for failure, text in _PATTERNS)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ADVICE = re.compile(r"\s*(please report this issue|use --cookies|see\s+https?://).*", re.I | re.S)
_QUERY = re.compile(r"(https?://[^\s?#]+)[?#]\S*")


def classify(message: str) -> Failure:
    """What a message of yt-dlp means."""
    plain = _COLOUR.sub("", message).replace("\u2019", "'")
    for failure, pattern in _COMPILED:
        if pattern.search(plain):
            return failure
    return Failure.UNKNOWN


def clean_message(message: str, hidden: Iterable[str] = ()) -> str:
    """A message as one line that is safe to store: without colours, queries and secrets.

    Args:
        message: message of yt-dlp.
        hidden: texts to remove from it.
    """
    text = _COLOUR.sub("", message)
    for secret in hidden:
        text = text.replace(secret, "<hidden>")
    text = _QUERY.sub(r"\1", _ADVICE.sub("", text))
    return " ".join(text.split()).removeprefix("ERROR: ")[:MESSAGE_LIMIT]
