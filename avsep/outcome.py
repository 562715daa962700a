"""How items ended: done, dropped with a reason, or failed with a reason, and their counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from avsep.errors import Reason, State


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one item of one stage ended.

    Attributes:
        item: the item's id (a clip id).
        state: done, dropped or failed.
        reason: None exactly when the state is done.
        message: one sentence for a person; empty when done.
        seconds: the item's share of the work, in seconds.
        attempts: how often it was tried just now; 0 for one that was found as it is, or that
            could not be tried.
        source: id of the video that it is a piece of, or empty.
        sha256: of the file that was made, or empty.
    """

    item: str
    state: State
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0
    attempts: int = field(default=1, compare=False)
    source: str = field(default="", compare=False)
    sha256: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if (self.reason is None) != (self.state is State.DONE):
            raise ValueError(f"outcome of {self.item}: {self.state} with reason {self.reason}")
        if self.reason is not None and self.reason.state is not self.state:
            raise ValueError(f"outcome of {self.item}: reason {self.reason} is not {self.state}")

    @classmethod
    def done(cls, item: str, seconds: float = 0.0) -> Outcome:
        """An item that went through."""
        return cls(item=item, state=State.DONE, seconds=seconds)

    @classmethod
    def found(cls, item: str, *, source: str = "", sha256: str = "") -> Outcome:
        """An item that went through in an earlier run."""
        return cls(item=item, state=State.DONE, attempts=0, source=source, sha256=sha256)

    @classmethod
    def ended(cls, item: str, reason: Reason, message: str, seconds: float = 0.0) -> Outcome:
        """An item that was dropped or failed, which the reason decides."""
        return cls(item=item, state=reason.state, reason=reason, message=message, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """What became of one video that items are cut from.

    Attributes:
        source: its id.
        state: done, dropped or failed; None while it is to be tried again.
        reason: why not done; None when done or pending.
        message: one sentence.
        attempts: so far, when read; further ones, when written.
        tool: name and version of what fetched it.
        facts: width, height, duration, sha256 and the like.
    """

    source: str
    state: State | None
    reason: Reason | None = None
    message: str = ""
    attempts: int = 0
    tool: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class SourceLog(Protocol):
    """Where what became of videos is written down; the ledger of a project is one."""

    def sources(self, stage: str) -> dict[str, SourceRow]:
        """The videos of a stage, by id."""
        ...

    def record_source(self, stage: str, row: SourceRow) -> None:
        """Write what became of a video; its attempts add up."""
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
        if outcome.state is State.DONE:
            self.done += 1
        elif outcome.reason is not None:
            side = self.dropped if outcome.state is State.DROPPED else self.failed
            side[str(outcome.reason)] += 1

    def rows(self) -> list[tuple[State, str, int]]:
        """How items ended, why and how many; what is done comes first and has no reason."""
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
