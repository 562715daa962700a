"""The closed list of reasons why an item is dropped or fails, and the exception types."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an `OSError`: there is no room
# What is wrong with the disk, by the code of an `OSError`, and what to do.
_DISK = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota of this user is used up", "free some space"),
    errno.EFBIG: ("the disk or `ulimit -f` takes no file of this size", "raise the limit"),
    errno.EROFS: ("the disk is read-only", "make it writable or choose another folder"),
    errno.EIO: ("the disk fails (input/output error)", "look into the log of the system"),
    errno.ESTALE: ("the network disk has gone (stale file handle)", "mount it again"),
    errno.ENODEV: ("the disk has gone (no such device)", "mount it again"),
    errno.EACCES: ("this user may not read or write it (permission denied)", "change its mode"),
    errno.EPERM: ("this user may not change it (not permitted)", "change its owner"),
}
# Libraries that write files themselves say it in an error of another kind.
_TEXTS = {os.strerror(code): code for code in (*FULL_CODES, errno.EROFS)}
_TEXTS |= {"database or disk is full": errno.ENOSPC, "readonly database": errno.EROFS}


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
    DISK_FAILED = "disk_failed"
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
    Reason.DISK_FAILED: "machine",
    Reason.INTERNAL: "internal",
    Reason.RESTRICTED: "conditional",
    Reason.THROTTLED: "throttled",
    Reason.NETWORK: "transient",
    Reason.CUT_FAILED: "cut",
    Reason.UNRECOGNISED: "unrecognised",
}

FAILURE_KINDS = tuple(sorted(set(_KINDS.values())))
"""`file`: put it (back); `transient`, `throttled`: time; `conditional`: cookies or another
country; `cut`: another try on this machine; `machine`: the disk; `internal`: a bug of ours
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
    code, _ = _disk_error(error)
    return code in FULL_CODES


def disk_fault(error: BaseException) -> str:
    """What is wrong with the disk and what to do, as the rest of a sentence.

    Args:
        error: any error; what it was raised from and during counts too.

    Returns:
        E.g. `data/x.tar: the disk is full; free some space`; empty where the error says nothing of
        the disk.
    """
    code, path = _disk_error(error)
    if code not in _DISK:
        return ""
    what, advice = _DISK[code]
    return f"{f'{path}: ' if path else ''}{what}; {advice}"


def disk_item_error(error: BaseException) -> ItemError | None:
    """The error of an item that the disk is to blame for; None for another error."""
    if fault := disk_fault(error):
        return ItemError(Reason.OUT_OF_SPACE if is_full(error) else Reason.DISK_FAILED, fault)
    return None


def _disk_error(error: BaseException) -> tuple[int, str]:
    """The code of the first error of the disk among an error and its causes, and its path."""
    for one in _causes(error):
        if isinstance(one, OSError) and one.errno in _DISK and not _is_of_ffmpeg(one):
            path = "" if one.filename is None else os.fsdecode(one.filename)
            if path or one.errno not in (errno.EACCES, errno.EPERM):  # else: of a process, say
                return one.errno, path
        if not isinstance(one, AvsepError | ItemError):
            said = str(one)
            if code := next((code for text, code in _TEXTS.items() if text in said), 0):
                return code, ""
    return 0, ""


def _is_of_ffmpeg(error: OSError) -> bool:
    """FFmpeg says EIO and EPERM of files that are damaged too."""
    return type(error).__module__.startswith("av.") and error.errno not in FULL_CODES


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return iter(found)


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
