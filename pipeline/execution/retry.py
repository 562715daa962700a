"""Let failed items be tried again, all of them or those of one kind."""

from __future__ import annotations

from avsep.errors import FAILURE_KINDS, Reason, State, UsageError
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import forget_failures


def failures_of(kind: str) -> tuple[Reason, ...]:
    """The reasons of failures of a kind (`transient`), or of one code (`timed_out`).

    Args:
        kind: one of `FAILURE_KINDS`, a code, or empty for all.

    Raises:
        UsageError: there is no such kind, or it is one of what was dropped for good.
    """
    failures = [reason for reason in Reason if reason.state is State.FAILED]
    found = tuple(reason for reason in failures if kind in ("", reason.kind, str(reason)))
    if found:
        return found
    if kind in set(Reason):
        raise UsageError(f"{kind} drops an item for good; trying again gives the same answer.")
    raise UsageError(
        f"there is no class {kind!r} of failures; there are {', '.join(FAILURE_KINDS)}, and the"
        f" codes {', '.join(failures)}."
    )


def retry(stage: str, workspace: Workspace, kind: str = "") -> int:
    """Let the next run of a stage try failed items again; returns how many.

    What was done or dropped is not touched.
    """
    reasons = failures_of(kind)
    Ledger(workspace.ledger).forgive_sources(stage, reasons)
    return forget_failures(stage, workspace, reasons)
