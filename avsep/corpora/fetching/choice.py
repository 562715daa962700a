"""Which speakers and which clips of a corpus to download."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from avsep.corpora.ids import hash_fraction
from avsep.errors import UsageError


def in_turns(speakers: Sequence[str], gender: Callable[[str], str]) -> list[str]:
    """The speakers, women and men in turns, so that the first few have both."""
    women = [speaker for speaker in speakers if gender(speaker) == "f"]
    men = [speaker for speaker in speakers if gender(speaker) != "f"]
    return [speaker for pair in zip_longest(women, men) for speaker in pair if speaker]


def choose_speakers(wanted: str, known: Sequence[str]) -> list[str]:
    """The speakers that an option names.

    Args:
        wanted: a number, or names with commas between them; empty for all.
        known: all speakers, in the order in which a number takes them.

    Raises:
        UsageError: there are not so many, or there is none of that name.
    """
    if not wanted:
        return list(known)
    if wanted.isdecimal() and wanted not in known:
        if not 1 <= int(wanted) <= len(known):
            raise UsageError(f"--speakers is {wanted}; there are 1 to {len(known)}.")
        return list(known[: int(wanted)])
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(
                f"--speakers names {name!r}; it may be a number, or of"
                f" {', '.join(sorted(known, key=_natural))}."
            )
    return list(dict.fromkeys(names))


def choose_clips(names: Iterable[str], count: int | None) -> list[str]:
    """Some of the names, in a fixed order; more of them hold all of fewer.

    Args:
        names: a speaker's clips, by name.
        count: number of clips; None for all.
    """
    ordered = sorted(names, key=lambda name: (hash_fraction(name, 0), name))
    return ordered[:count]


def _natural(name: str) -> tuple[int, str]:
    digits = "".join(letter for letter in name if letter.isdecimal())
    return int(digits or 0), name
