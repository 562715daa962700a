"""What the stages that work on items in a pool of processes have in common."""

from __future__ import annotations

from dataclasses import dataclass

from avsep.processes import default_workers
from avsep.validation import check_at_least, check_positive, check_share


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Settings of the process pool of a stage.

    Attributes:
        workers: processes; None for one per core, 0 to work in the main process.
        item_timeout_s: most time for one item, in seconds.
        max_failed_share: share of the items that may fail before the stage does.
    """

    workers: int | None = None
    item_timeout_s: float = 600.0
    max_failed_share: float = 0.02

    def __post_init__(self) -> None:
        check_at_least(self, 0, "workers")
        check_positive(self, "item_timeout_s")
        check_share(self, "max_failed_share")

    @property
    def num_workers(self) -> int:
        """Number of processes, 0 for none."""
        return default_workers() if self.workers is None else self.workers
