import pytest

from avsep.corpora.youtube.messages import Trouble, classify, tidy
from avsep.errors import State

YT = "ERROR: [youtube] dQw4w9WgXcQ: "
# Sentences of yt-dlp and of YouTube as users report them.
MESSAGES = [
    (YT + "Private video. Sign in if you've been granted access to this video", Trouble.GONE),
    (YT + "Video unavailable. This video is private", Trouble.GONE),
    (YT + "Video unavailable. This video has been removed by the uploader", Trouble.GONE),
    (
        YT + "Video unavailable. This video is no longer available because the YouTube account"
        " associated with this video has been terminated.",
        Trouble.GONE,
    ),
    (
        YT + "Video unavailable. This video is no longer available due to a copyright claim by X",
        Trouble.GONE,
    ),
    (YT + "This video has been removed for violating YouTube's Terms of Service", Trouble.GONE),
    (YT + "This video isn't available anymore", Trouble.GONE),
    ("ERROR: unable to download video data: HTTP Error 404: Not Found", Trouble.GONE),
    (
        YT + "Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser or --cookies",
        Trouble.THROTTLED,
    ),
    (
        YT + "Video unavailable. This content isn't available, try again later. Your account has"
        " been rate-limited by YouTube for up to an hour.",
        Trouble.THROTTLED,
    ),
    ("ERROR: Unable to download webpage: HTTP Error 429: Too Many Requests", Trouble.THROTTLED),
    (
        YT + "All player responses are invalid. Your IP is likely being blocked by Youtube",
        Trouble.THROTTLED,
    ),
    # Seen on every video by accounts that were blocked for a while: nothing about this video.
    (YT + "Video unavailable. This content isn\u2019t available.", Trouble.REFUSED),
    ("ERROR: unable to download video data: HTTP Error 403: Forbidden", Trouble.REFUSED),
    (
        YT + "Sign in to confirm your age. This video may be inappropriate for some users.",
        Trouble.RESTRICTED,
    ),
    (YT + "Join this channel to get access to members-only content", Trouble.RESTRICTED),
    (
        YT + "The uploader has not made this video available in your country",
        Trouble.RESTRICTED,
    ),
    (
        YT + "Video unavailable. The uploader has not made this video available in your country",
        Trouble.RESTRICTED,
    ),
    (YT + "Premieres in 3 hours", Trouble.RESTRICTED),
    (YT + "This live event will begin in 5 hours.", Trouble.RESTRICTED),
    ("ERROR: The read operation timed out", Trouble.TRANSIENT),
    ("ERROR: Unable to download webpage: HTTP Error 503: Service Unavailable", Trouble.TRANSIENT),
    ("ERROR: [Errno 104] Connection reset by peer", Trouble.TRANSIENT),
    (
        "ERROR: Unable to download webpage: <urllib3.connection.HTTPSConnection object at 0x7f>:"
        " Failed to resolve 'www.youtube.com' ([Errno -3] Temporary failure in name resolution)",
        Trouble.TRANSIENT,
    ),
    ("ERROR: 1048576 bytes read, 2311 more expected", Trouble.TRANSIENT),
    ("ERROR: fragment 5 not found, unable to continue", Trouble.TRANSIENT),
    (YT + "Signature extraction failed: Some formats may be missing", Trouble.BROKEN),
    (YT + "nsig extraction failed: Some formats may be missing", Trouble.BROKEN),
    (YT + "Requested format is not available. Use --list-formats for a list", Trouble.BROKEN),
    (YT + "Failed to extract any player response; please report this issue", Trouble.BROKEN),
    (YT + "No supported JavaScript runtime could be found", Trouble.BROKEN),
    # Too little is said: a deleted video says so, and so does a session that is being turned away.
    (YT + "Video unavailable", Trouble.UNKNOWN),
    (YT + "Something nobody has seen before", Trouble.UNKNOWN),
    ("", Trouble.UNKNOWN),
]


@pytest.mark.parametrize(("message", "trouble"), MESSAGES, ids=lambda v: str(v)[-40:])
def test_each_real_message_has_its_class(message, trouble):
    assert classify(message) is trouble
    assert classify(f"\x1b[0;31m{message}\x1b[0m") is trouble


def test_only_what_says_why_makes_a_video_count_as_gone():
    for trouble in Trouble:
        dropped = trouble.reason.state is State.DROPPED
        assert dropped == (trouble in (Trouble.GONE, Trouble.CHANGED))


def test_a_kept_message_is_one_line_without_colours_queries_and_secrets():
    text = tidy(
        "\x1b[0;31mERROR:\x1b[0m  no access to\nhttps://x.example/get?key=abc123&file=y with"
        " /home/me/cookies.txt. Please report this issue on https://...",
        ["/home/me/cookies.txt"],
    )
    assert text == "no access to https://x.example/get with <hidden>."
