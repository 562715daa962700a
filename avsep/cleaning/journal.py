"""Verdicts of one batch, written as they come, so that a killed run loses none of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from avsep.cleaning.check_clip import ClipCheck
from avsep.files import dump_json
from avsep.schema import Clip


class Journal:
    """A file of one check a line. A line cut by a kill is ignored and overwritten."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._checks: list[ClipCheck] = []
        self._handle: IO[bytes] | None = None
        self._whole = 0  # bytes of undamaged lines

    def __enter__(self) -> Journal:
        """Read what is there."""
        if self._path.exists():
            for line in self._path.read_bytes().splitlines(keepends=True):
                if (check := _check(line)) is None:
                    break
                self._checks.append(check)
                self._whole += len(line)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def checks(self) -> list[ClipCheck]:
        """The checks so far, in the order they were made."""
        return list(self._checks)

    def add(self, check: ClipCheck) -> None:
        """Write one check."""
        if self._handle is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._path.open("ab")
            self._handle.truncate(self._whole)
        self._handle.write(_line(check))
        self._handle.flush()
        self._checks.append(check)


def _line(check: ClipCheck) -> bytes:
    # JSON knows no NaN: scores that were not measured are left out, and are NaN by default.
    known = {
        name: value
        for name, value in vars(check.clip).items()
        if not (isinstance(value, float) and math.isnan(value))
    }
    content = {
        "clip": known,
        "sound_sha256": check.sound_sha256,
        "fingerprint": check.fingerprint,
    }
    return (dump_json(content, indent=None) + "\n").encode("utf-8")


def _check(line: bytes) -> ClipCheck | None:
    if not line.endswith(b"\n"):
        return None
    try:
        content: dict[str, Any] = json.loads(line)
        clip = content["clip"]
        for name in ("words", "word_times_s"):  # JSON knows no tuples
            clip[name] = tuple(clip[name])
        return ClipCheck(
            clip=Clip(**clip),
            sound_sha256=content["sound_sha256"],
            fingerprint=content["fingerprint"],
        )
    except (ValueError, TypeError, KeyError):
        return None
