"""How items ended: done, dropped with a reason, or failed with a reason, and their counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from avsep.errors import Reason, State


@dataclass(frozen=True, kw_only=True, slots=True)  # a stage may have a million
class Outcome:
    """How one item of one stage ended.

    Attributes:
        item: id of the item, e.g. a clip id.
        state: done, dropped or failed.
        reason: None exactly when the state is done.
        message: one sentence for a person; empty when done.
        seconds: time spent on the item.
        attempts: number of attempts in this run; 0 for an item that was done already, or that
            could not be tried.
        source: id of the video that the item is part of, or empty.
        sha256: sha256 of the file that was made, or empty.
        path: path of the file that the item comes from, or empty.
    """

    item: str
    state: State
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0
    attempts: int = field(default=1, compare=False)
    source: str = field(default="", compare=False)
    sha256: str = field(default="", compare=False)
    path: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if (self.reason is None) != (self.state is State.DONE):
            raise ValueError(f"outcome of {self.item}: {self.state} with reason {self.reason}")
        if self.reason is not None and self.reason.state is not self.state:
            raise ValueError(f"outcome of {self.item}: reason {self.reason} is not {self.state}")

    @classmethod
    def done(cls, item: str, seconds: float = 0.0) -> Outcome:
        """An item that was processed."""
        return cls(item=item, state=State.DONE, seconds=seconds)

    @classmethod
    def found(cls, item: str, *, source: str = "", sha256: str = "") -> Outcome:
        """An item that was processed in an earlier run."""
        return cls(item=item, state=State.DONE, attempts=0, source=source, sha256=sha256)

    @classmethod
    def ended(cls, item: str, reason: Reason, message: str, seconds: float = 0.0) -> Outcome:
        """An item that was dropped or failed; the reason decides which."""
        return cls(item=item, state=reason.state, reason=reason, message=message, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """The state of one video that items are cut from.

    Attributes:
        source: id of the video.
        state: done, dropped or failed; None if it is to be tried again.
        reason: why it is not done; None when done or pending.
        message: the reason in one sentence.
        attempts: number of attempts so far when read, number of further attempts when written.
        tool: name and version of the program that downloaded it.
        facts: further values, e.g. width, height, duration and sha256.
    """

    source: str
    state: State | None
    reason: Reason | None = None
    message: str = ""
    attempts: int = 0
    tool: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class SourceLog(Protocol):
    """A record of the states of videos, e.g. the ledger of a project."""

    def sources(self, stage: str) -> dict[str, SourceRow]:
        """The videos of a stage, by id."""
        ...

    def record_source(self, stage: str, row: SourceRow) -> None:
        """Write the state of a video; its attempts add up."""
        ...


@dataclass
class Counts:
    """How many items of a stage ended how; the three add up to the input."""

    done: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All items counted."""
        return self.done + self.dropped.total() + self.failed.total()

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.add_some(outcome.state, outcome.reason, 1)

    def add_some(self, state: State, reason: Reason | None, count: int) -> None:
        """Count outcomes that are alike."""
        if state is State.DONE:
            self.done += count
        elif reason is not None:
            side = self.dropped if state is State.DROPPED else self.failed
            side[str(reason)] += count

    def rows(self) -> list[tuple[State, str, int]]:
        """How items ended, why, and how many; done items come first and have no reason."""
        sides = ((State.DROPPED, self.dropped), (State.FAILED, self.failed))
        return [
            (State.DONE, "", self.done),
            *((state, code, n) for state, side in sides for code, n in sorted(side.items())),
        ]

    def __str__(self) -> str:
        """In words, e.g. `7 done, 2 dropped (silent 1, too_short 1)`."""
        parts = [f"{self.done} done"]
        for state, side in ((State.DROPPED, self.dropped), (State.FAILED, self.failed)):
            if side:
                reasons = ", ".join(f"{code} {n}" for code, n in sorted(side.items()))
                parts.append(f"{side.total()} {state} ({reasons})")
        return ", ".join(parts)

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Counts:
        """Count outcomes."""
        counts = cls()
        for outcome in outcomes:
            counts.add(outcome)
        return counts
