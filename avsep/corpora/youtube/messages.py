"""What a message of yt-dlp means for the video, and for the run.

A message that is not known never makes a video count as gone: a throttled session answers about
videos that are alive in ways that look like their end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from avsep.errors import Reason

MESSAGE_LIMIT = 300


class Trouble(StrEnum):
    """What stands between us and a video."""

    GONE = "gone"  # it will not come back
    CHANGED = "changed"  # it is there, but not what was annotated
    RESTRICTED = "restricted"  # for us: age, country, members, a cap of ours
    THROTTLED = "throttled"  # too many requests: everything must wait
    REFUSED = "refused"  # once it may pass, in bursts it is throttling
    TRANSIENT = "transient"  # time heals it
    BROKEN = "broken"  # yt-dlp no longer understands the site
    UNKNOWN = "unknown"
    CUT = "cut"  # the video is there, cutting it failed
    WAITING = "waiting"  # not tried, since everything waits

    @property
    def reason(self) -> Reason:
        """How its clips end when this is the last word."""
        return _REASONS[self]


_REASONS = {
    Trouble.GONE: Reason.VIDEO_GONE,
    Trouble.CHANGED: Reason.VIDEO_CHANGED,
    Trouble.RESTRICTED: Reason.RESTRICTED,
    Trouble.THROTTLED: Reason.THROTTLED,
    Trouble.REFUSED: Reason.NETWORK,
    Trouble.TRANSIENT: Reason.NETWORK,
    Trouble.BROKEN: Reason.UNRECOGNISED,
    Trouble.UNKNOWN: Reason.UNRECOGNISED,
    Trouble.CUT: Reason.CUT_FAILED,
    Trouble.WAITING: Reason.THROTTLED,
}

# In order: the first that fits decides. Throttling comes first, since its sentences begin like
# those about videos that are gone.
_PATTERNS: tuple[tuple[Trouble, str], ...] = (
    (
        Trouble.THROTTLED,
        r"HTTP Error 429|too many requests|confirm you.?re not a bot|try again later"
        r"|rate.?limited|session has been rate|ip is likely being blocked|unusual traffic|captcha",
    ),
    (
        Trouble.BROKEN,
        r"signature extraction failed|nsig extraction failed|n challenge solving failed"
        r"|unable to extract (?!uploader)|cannot identify player|no supported javascript runtime"
        r"|failed to extract any player response|failed to parse json"
        r"|only images are available|requested format is not available|no video formats found"
        r"|unsupported url",
    ),
    (
        Trouble.RESTRICTED,
        r"confirm your age|age.?restricted|inappropriate for some users|members.only"
        r"|join this channel|available in your (country|location)|blocked it in your country"
        r"|not made this video available in your|premieres? (in|will)|live event will begin"
        r"|rental|requires payment|music premium|drm protected|login required|sign in to view"
        r"|this live stream|over the cap",
    ),
    (
        Trouble.GONE,
        r"private video|video is private|removed by the (uploader|user)|has been removed"
        r"|no longer available because|account (associated|.*terminated)|has been terminated"
        r"|copyright (claim|infringement|grounds)|no longer available due to"
        r"|violat(es|ed|ing|ion of) youtube|video (does not|doesn.?t) exist|video has been deleted"
        r"|HTTP Error (404|410)|isn.?t available anymore|incomplete youtube id|truncated",
    ),
    (Trouble.REFUSED, r"HTTP Error 403|this content isn.?t available"),
    (
        Trouble.TRANSIENT,
        r"HTTP Error (408|5\d\d)|timed? ?out|connection (reset|refused|aborted|broken)"
        r"|remote end closed|incomplete ?read|bytes read|more expected|content too short"
        r"|temporary failure|name resolution|network is unreachable|broken pipe|ssl|tls"
        r"|did not get any data|fragment|server disconnected|giving up after|unable to connect",
    ),
)
_COMPILED = tuple((trouble, re.compile(text, re.IGNORECASE)) for trouble, text in _PATTERNS)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ADVICE = re.compile(r"\s*(please report this issue|use --cookies|see\s+https?://).*", re.I | re.S)
_QUERY = re.compile(r"(https?://[^\s?#]+)[?#]\S*")


def classify(message: str) -> Trouble:
    """What a message of yt-dlp means."""
    plain = _COLOUR.sub("", message).replace("\u2019", "'")
    for trouble, pattern in _COMPILED:
        if pattern.search(plain):
            return trouble
    return Trouble.UNKNOWN


def tidy(message: str, hidden: Iterable[str] = ()) -> str:
    """A message as one line that may be kept: no colours, no queries of addresses, no secrets."""
    text = _COLOUR.sub("", message)
    for secret in hidden:
        text = text.replace(secret, "<hidden>")
    text = _QUERY.sub(r"\1", _ADVICE.sub("", text))
    return " ".join(text.split()).removeprefix("ERROR: ")[:MESSAGE_LIMIT]
