"""The checks of one batch, written as they come, so that a killed run loses none of them."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

from avsep.cleaning.check_clip import ClipCheck
from avsep.files import append_jsonl, read_journal
from avsep.schema import Clip


def append_check(path: Path, check: ClipCheck) -> None:
    """Append one check to the journal of its batch."""
    # JSON has no NaN: scores that were not measured are left out, and are NaN by default.
    known = {
        name: value
        for name, value in vars(check.clip).items()
        if not (isinstance(value, float) and math.isnan(value))
    }
    append_jsonl(path, {**vars(check), "clip": known})


def read_checks(path: Path) -> list[ClipCheck]:
    """The checks in a journal, in the order they were made; none where there is no journal."""
    checks = []
    for row in read_journal(path):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            clip = dict(row["clip"])
            for name in ("words", "word_times_s"):  # JSON has no tuples
                clip[name] = tuple(clip[name])
            checks.append(ClipCheck(**{**row, "clip": Clip(**clip)}))
    return checks
