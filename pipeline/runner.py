"""How a stage is run: batches, a pool of processes for items, and the report of a stage.

A stage module has a config class and three functions (see `Stage`). Everything that is slow is
in `work`, which may be killed at any moment and called again. `run_stage` runs a stage in this
process; the flows run the same three functions as Prefect tasks.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from pipeline.config import load_stage
from pipeline.errors import CheckError, ItemError, Reason
from pipeline.ledger import Counts, Ledger, Outcome
from pipeline.storage import Workspace

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

Progress = Callable[[int], None]
"""Called with the number of items that have just ended."""


def no_progress(_: int) -> None:
    """Show nothing."""


@contextmanager
def hidden_progress(_title: str, _total: int) -> Iterator[Progress]:
    """Yield a callback that shows nothing."""
    yield no_progress


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A unit of work of at least some seconds: one shard, or a few hundred clips.

    Attributes:
        name: short and file-safe; the same inputs give the same name.
        items: ids of the items inside, sorted.
        settings: hash of everything that decides the result (config, inputs).
    """

    name: str
    items: tuple[str, ...]
    settings: str = ""


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage did, for people and for artifacts.

    Attributes:
        stage: its name.
        counts: how the items ended; they add up to the input.
        seconds: wall time.
        facts: a few further figures, in order.
    """

    stage: str
    counts: Counts
    seconds: float = 0.0
    facts: dict[str, str | int | float] = field(default_factory=dict)

    def sentence(self) -> str:
        """One line for the terminal."""
        parts = [f"{self.stage}: {self.counts.done} done"]
        for name, side in (("dropped", self.counts.dropped), ("failed", self.counts.failed)):
            if side:
                reasons = ", ".join(f"{code} {n}" for code, n in sorted(side.items()))
                parts.append(f"{side.total()} {name} ({reasons})")
        parts += [f"{key} {value}" for key, value in self.facts.items()]
        return ", ".join(parts) + f" in {self.seconds:.1f} s"


class Stage(Protocol):
    """What a stage module offers."""

    def plan(self, config: Any, workspace: Workspace) -> list[Batch]:
        """The batches, from the inputs alone; the same inputs give the same plan."""
        ...

    def work(
        self, config: Any, workspace: Workspace, batch: Batch, progress: Progress
    ) -> list[Outcome]:
        """Do one batch, or what is left of it; returns the outcome of each of its items."""
        ...

    def finish(self, config: Any, workspace: Workspace, outcomes: Sequence[Outcome]) -> StageReport:
        """Publish the stage's output from the finished batches."""
        ...


def stage_module(stage: str) -> Stage:
    """The module of a stage."""
    return cast("Stage", importlib.import_module(f"pipeline.stages.{stage}"))


def record_batch(workspace: Workspace, stage: str, batch: Batch, outcomes: list[Outcome]) -> None:
    """Check that each item of the batch ended exactly once, then write the ledger.

    Raises:
        AssertionError: our own bookkeeping is wrong.
    """
    assert sorted(o.item for o in outcomes) == sorted(batch.items), (
        f"{stage} {batch.name}: {len(outcomes)} outcomes for {len(batch.items)} items"
    )
    Ledger(workspace.ledger).record(stage, outcomes)


def check_failures(stage: str, counts: Counts, total: int, max_failed_share: float) -> None:
    """Raise when the counts do not add up, or when too many items failed.

    Raises:
        CheckError: too many failed; the sentence says what to do.
    """
    assert counts.total == total, f"{stage}: {counts.total} outcomes for {total} items"
    failed = counts.failed.total()
    if total and failed / total > max_failed_share:
        reasons = ", ".join(f"{code} {n}" for code, n in sorted(counts.failed.items()))
        raise CheckError(
            f"{stage}: {failed} of {total} items failed ({reasons}), more than the share"
            f" {max_failed_share:g} that params.yaml allows; `avsep ledger failures {stage}`"
            f" names them, `avsep run {stage} --retry-failed` tries them again."
        )


def run_stage(
    stage: str,
    workspace: Workspace,
    *,
    config: Any = None,
    progress: Callable[[str, int], AbstractContextManager[Progress]] = hidden_progress,
) -> StageReport:
    """Run a stage here, without Prefect: plan, work batch by batch, finish.

    Args:
        stage: one of `pipeline.config.STAGES`.
        workspace: the project's folders.
        config: the stage's config; read from `params.yaml` when None.
        progress: shows progress under a title, given the number of items.
    """
    module = stage_module(stage)
    if config is None:
        config = load_stage(workspace.root / "params.yaml", stage)
    started = time.monotonic()
    batches = module.plan(config, workspace)
    outcomes: list[Outcome] = []
    with progress(stage, sum(len(b.items) for b in batches)) as advance:
        for batch in batches:
            results = module.work(config, workspace, batch, advance)
            record_batch(workspace, stage, batch, results)
            outcomes += results
    return finish_stage(stage, module, config, workspace, outcomes, started)


def finish_stage(
    stage: str,
    module: Stage,
    config: Any,
    workspace: Workspace,
    outcomes: Sequence[Outcome],
    started: float,
) -> StageReport:
    """Forget vanished items, publish, and check the share of failures."""
    items = [outcome.item for outcome in outcomes]
    Ledger(workspace.ledger).keep_only(stage, items, getattr(config, "model", ""))
    counts = Counts.of(outcomes)
    check_failures(stage, counts, len(outcomes), getattr(config, "max_failed_share", 0.0))
    report = module.finish(config, workspace, outcomes)
    return StageReport(
        stage=report.stage,
        counts=report.counts,
        seconds=time.monotonic() - started,
        facts=report.facts,
    )


# --- a pool of processes for items -------------------------------------------------------------

_pools: dict[int, ProcessPoolExecutor] = {}
_interrupted = threading.Event()


def _follow_parent(parent: int) -> None:
    """End this worker when its parent has gone, even by SIGKILL: nobody else would."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _start_worker(parent: int) -> None:
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    # Ctrl-C goes to the parent, which stops the pool in order; one thread a process, since the
    # pool already fills the cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _pool(workers: int) -> ProcessPoolExecutor:
    """One pool a size, kept for the life of this process: starting one costs seconds."""
    if workers not in _pools:
        # spawn: fork from a process with threads (Prefect, Arrow) can deadlock.
        _pools[workers] = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(os.getpid(),),
        )
    return _pools[workers]


def _discard(workers: int) -> None:
    if pool := _pools.pop(workers, None):
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


@atexit.register
def close_pools() -> None:
    """End all worker processes."""
    for workers in list(_pools):
        _discard(workers)


def interrupt_items() -> None:
    """End all worker processes, and every `map_items` under way in any thread, for good.

    For a process that was asked to end: without it the loss of the workers would look like a
    crash of theirs, and new ones would be started.
    """
    _interrupted.set()
    close_pools()


def default_workers() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def map_items(
    function: Callable[[In], Out],
    items: Iterable[In],
    *,
    workers: int,
    timeout_s: float,
) -> Iterator[tuple[In, Out | ItemError]]:
    """Run `function` on each item in a pool of processes; yield results as they come.

    An item that raises, kills its process or exceeds the timeout yields an `ItemError` and harms
    no other item. With `workers` 0, everything runs here (for debuggers), without timeouts.

    Args:
        function: a picklable module-level function.
        items: picklable items.
        workers: number of processes, 0 for none.
        timeout_s: for one item, in seconds.
    """
    todo = deque(items)
    if workers == 0:
        for item in todo:
            try:
                yield item, function(item)
            except ItemError as error:
                yield item, error
            except Exception as error:
                yield item, _internal(error)
        return
    suspects: deque[In] = deque()  # were in flight when a worker died: run one at a time
    running: dict[Future[Out], tuple[In, float]] = {}
    while todo or suspects or running:
        if _interrupted.is_set():
            raise KeyboardInterrupt
        alone = bool(suspects) and not todo
        width = 1 if alone else workers
        source = suspects if alone else todo
        pool = _pool(workers)
        try:
            while source and len(running) < width:
                item = source[0]
                running[pool.submit(function, item)] = (item, time.monotonic() + timeout_s)
                source.popleft()
        except BrokenProcessPool:
            _discard(workers)
            suspects.extend(item for item, _ in running.values())
            running.clear()
            continue
        patience = max(0.0, min(limit for _, limit in running.values()) - time.monotonic())
        finished, _ = wait(running, timeout=patience, return_when=FIRST_COMPLETED)
        if not finished:
            yield from _time_out(running, suspects, timeout_s)
            _discard(workers)
            continue
        broken = False
        for future in finished:
            item, _ = running.pop(future)
            failure = future.exception()
            if isinstance(failure, BrokenProcessPool):
                broken = True
                if alone:
                    yield item, ItemError(Reason.WORKER_DIED, "its worker process was killed")
                else:
                    suspects.append(item)
            elif isinstance(failure, ItemError):
                yield item, failure
            elif isinstance(failure, Exception):
                yield item, _internal(failure)
            elif failure is not None:
                raise failure
            else:
                yield item, future.result()
        if broken:
            suspects.extend(item for item, _ in running.values())
            running.clear()
            _discard(workers)


def _time_out(
    running: dict[Future[Any], tuple[Any, float]], suspects: deque[Any], timeout_s: float
) -> Iterator[tuple[Any, ItemError]]:
    """Give up on the items beyond their limit; the others in flight start again."""
    now = time.monotonic()
    for item, limit in running.values():
        if limit <= now:
            yield item, ItemError(Reason.TIMED_OUT, f"took more than {timeout_s:g} s")
        else:
            suspects.append(item)
    running.clear()


def _internal(error: Exception) -> ItemError:
    log.error("internal error", exc_info=error)
    if isinstance(error, OSError) and error.errno == 28:
        return ItemError(Reason.OUT_OF_SPACE, "no space left on the device")
    return ItemError(Reason.INTERNAL, f"{type(error).__name__}: {error}")
