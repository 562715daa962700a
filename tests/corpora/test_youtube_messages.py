import pytest

from avsep.corpora.youtube.messages import Failure, classify, clean_message
from avsep.errors import State

YT = "ERROR: [youtube] dQw4w9WgXcQ: "
# Sentences of yt-dlp and of YouTube as users report them.
MESSAGES = [
    (YT + "Private video. Sign in if you've been granted access to this video", Failure.GONE),
    (YT + "Video unavailable. This video is private", Failure.GONE),
    (YT + "Video unavailable. This video has been removed by the uploader", Failure.GONE),
    (
        YT + "Video unavailable. This video is no longer available because the YouTube account"
        " associated with this video has been terminated.",
        Failure.GONE,
    ),
    (
        YT + "Video unavailable. This video is no longer available due to a copyright claim by X",
        Failure.GONE,
    ),
    (YT + "This video has been removed for violating YouTube's Terms of Service", Failure.GONE),
    (YT + "This video isn't available anymore", Failure.GONE),
    ("ERROR: unable to download video data: HTTP Error 404: Not Found", Failure.GONE),
    (
        YT + "Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser or --cookies",
        Failure.THROTTLED,
    ),
    (
        YT + "Video unavailable. This content isn't available, try again later. Your account has"
        " been rate-limited by YouTube for up to an hour.",
        Failure.THROTTLED,
    ),
    ("ERROR: Unable to download webpage: HTTP Error 429: Too Many Requests", Failure.THROTTLED),
    (
        YT + "All player responses are invalid. Your IP is likely being blocked by Youtube",
        Failure.THROTTLED,
    ),
    # Seen on every video by accounts that were blocked for a while: nothing about this video.
    (YT + "Video unavailable. This content isn\u2019t available.", Failure.REFUSED),
    ("ERROR: unable to download video data: HTTP Error 403: Forbidden", Failure.REFUSED),
    (
        YT + "Sign in to confirm your age. This video may be inappropriate for some users.",
        Failure.RESTRICTED,
    ),
    (YT + "Join this channel to get access to members-only content", Failure.RESTRICTED),
    (
        YT + "The uploader has not made this video available in your country",
        Failure.RESTRICTED,
    ),
    (
        YT + "Video unavailable. The uploader has not made this video available in your country",
        Failure.RESTRICTED,
    ),
    (YT + "Premieres in 3 hours", Failure.RESTRICTED),
    (YT + "This live event will begin in 5 hours.", Failure.RESTRICTED),
    ("ERROR: The read operation timed out", Failure.TRANSIENT),
    ("ERROR: Unable to download webpage: HTTP Error 503: Service Unavailable", Failure.TRANSIENT),
    ("ERROR: [Errno 104] Connection reset by peer", Failure.TRANSIENT),
    (
        "ERROR: Unable to download webpage: <urllib3.connection.HTTPSConnection object at 0x7f>:"
        " Failed to resolve 'www.youtube.com' ([Errno -3] Temporary failure in name resolution)",
        Failure.TRANSIENT,
    ),
    ("ERROR: 1048576 bytes read, 2311 more expected", Failure.TRANSIENT),
    ("ERROR: fragment 5 not found, unable to continue", Failure.TRANSIENT),
    (YT + "Signature extraction failed: Some formats may be missing", Failure.BROKEN),
    (YT + "nsig extraction failed: Some formats may be missing", Failure.BROKEN),
    (YT + "Requested format is not available. Use --list-formats for a list", Failure.BROKEN),
    (YT + "Failed to extract any player response; please report this issue", Failure.BROKEN),
    (YT + "No supported JavaScript runtime could be found", Failure.BROKEN),
    # Too little is said: a deleted video says so, and so does a session that is being turned away.
    (YT + "Video unavailable", Failure.UNKNOWN),
    (YT + "Something nobody has seen before", Failure.UNKNOWN),
    ("", Failure.UNKNOWN),
]


@pytest.mark.parametrize(("message", "failure"), MESSAGES, ids=lambda v: str(v)[-40:])
def test_each_real_message_is_classified(message, failure):
    assert classify(message) is failure
    assert classify(f"\x1b[0;31m{message}\x1b[0m") is failure


def test_only_a_message_with_a_cause_makes_a_video_count_as_gone():
    for failure in Failure:
        dropped = failure.reason.state is State.DROPPED
        assert dropped == (failure in (Failure.GONE, Failure.CHANGED))


def test_a_stored_message_is_one_line_without_colours_queries_and_secrets():
    text = clean_message(
        "\x1b[0;31mERROR:\x1b[0m  no access to\nhttps://x.example/get?key=abc123&file=y with"
        " /home/me/cookies.txt. Please report this issue on https://...",
        ["/home/me/cookies.txt"],
    )
    assert text == "no access to https://x.example/get with <hidden>."
