"""The closed list of reasons why an item is dropped or fails, and the exception types."""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path

FULL_CODES = (errno.ENOSPC, errno.EDQUOT)  # of an `OSError`: there is no room on the disk


class State(StrEnum):
    """How an item ended. Every item ends in exactly one of these."""

    DONE = "done"
    DROPPED = "dropped"  # the item itself is unsuitable; a retry gives the same result
    FAILED = "failed"  # the circumstances were at fault; `--retry-failed` may help


class Reason(StrEnum):
    """Why an item was dropped or failed. A new reason needs a line in docs/data.md."""

    # dropped: properties of the clip
    UNDECODABLE = "undecodable"
    NO_AUDIO = "no_audio"
    NO_VIDEO = "no_video"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    SILENT = "silent"
    BLACK = "black_picture"
    FROZEN = "frozen_picture"
    LENGTHS_APART = "audio_video_lengths_apart"
    DUPLICATE = "duplicate"
    NO_FACE = "no_face"
    FACE_TOO_SHORT = "face_too_short"
    FACE_MOSTLY_MISSING = "face_mostly_missing"
    BAD_ANNOTATION = "bad_annotation"
    NOT_SELECTED = "not_selected"
    # dropped: properties of a video on the web
    VIDEO_GONE = "video_gone"
    VIDEO_CHANGED = "video_changed"
    # dropped: properties of a sample that make it unsuitable for mixtures
    MULTI_VOICE = "multi_voice"
    POOR_QUALITY = "poor_quality"
    LITTLE_SPEECH = "little_speech"
    # failed: circumstances
    FILE_MISSING = "file_missing"
    FILE_CHANGED = "file_changed"
    UNREADABLE = "unreadable_file"
    TIMED_OUT = "timed_out"
    WORKER_DIED = "worker_died"
    OUT_OF_SPACE = "out_of_space"
    INTERNAL = "internal_error"
    # failed: errors of a download
    RESTRICTED = "video_restricted"
    THROTTLED = "throttled"
    NETWORK = "network_trouble"
    CUT_FAILED = "cut_failed"
    UNRECOGNISED = "unrecognised"

    @classmethod
    def _missing_(cls, value: object) -> Reason | None:
        # Ledgers and markers of earlier versions have the old code.
        return cls.UNRECOGNISED if value == "parked" else None

    @property
    def state(self) -> State:
        """Whether this reason drops an item or marks it as failed."""
        return State.FAILED if self in _KINDS else State.DROPPED

    @property
    def kind(self) -> str:
        """The kind of failure, one of `FAILURE_KINDS`; empty for a reason that drops."""
        return _KINDS.get(self, "")


_KINDS = {
    Reason.FILE_MISSING: "file",
    Reason.FILE_CHANGED: "file",
    Reason.UNREADABLE: "file",
    Reason.TIMED_OUT: "transient",
    Reason.WORKER_DIED: "transient",
    Reason.OUT_OF_SPACE: "machine",
    Reason.INTERNAL: "internal",
    Reason.RESTRICTED: "conditional",
    Reason.THROTTLED: "throttled",
    Reason.NETWORK: "transient",
    Reason.CUT_FAILED: "cut",
    Reason.UNRECOGNISED: "unrecognised",
}

FAILURE_KINDS = tuple(sorted(set(_KINDS.values())))
"""`file`: put it (back); `transient`, `throttled`: time; `conditional`: cookies or another
country; `cut`: another try on this machine; `machine`: room on the disk; `internal`: a bug of ours
that was mended; `unrecognised`: a message that we do not know, so a person should look."""


class ItemError(Exception):
    """An item (a clip, a face track) cannot be processed. The stage records it in the ledger.

    Attributes:
        reason: the reason, from the closed list.
        message: the reason in one sentence, for a person.
        attempts: number of attempts; 0 if nothing was tried.
    """

    attempts = 1

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class AvsepError(Exception):
    """Base of the errors that end a command with one sentence and an exit code."""

    exit_code = 1


class CheckError(AvsepError):
    """A check failed: a file, a table or a result is not as it must be (exit code 1)."""

    exit_code = 1


class UsageError(AvsepError):
    """The command, its options or params.yaml are wrong (exit code 2)."""

    exit_code = 2


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room on the disk."""
    return isinstance(error, OSError) and error.errno in FULL_CODES


def printable(text: str) -> str:
    """A text as one line without control characters, which a terminal would obey.

    What has no encoding, as the bytes of a file name that is not UTF-8, is escaped too.
    """
    line = " ".join(part.strip() for part in text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def as_command_error(path: Path, error: ItemError) -> CheckError | UsageError:
    """The error that ends a command for the error of the one file that it works on."""
    sentence = error.message if path.name in error.message else f"{path.name}: {error.message}"
    if error.reason in (Reason.FILE_MISSING, Reason.UNREADABLE):
        return UsageError(sentence)
    return CheckError(sentence)
