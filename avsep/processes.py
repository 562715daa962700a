"""A process pool for items: an item that raises, hangs or is killed does not harm the others."""

from __future__ import annotations

import atexit
import gc
import logging
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

from avsep.errors import CheckError, ItemError, Reason, disk_item_error
from avsep.file_lock import knows_locks

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

# Below it: the folder of a run, that of multiprocessing, and a socket.
MAX_TEMP_BYTES = 107 - len("/avsep-12345678/pymp-12345678/listener-12345678")

# How often the server of the workers may refuse, and how long until it is asked again.
MAX_REFUSALS, REFUSED_WAIT_S = 20, 0.1

_pools: dict[int, ProcessPoolExecutor] = {}
_interrupted = threading.Event()
_starting_tracker = threading.Lock()  # of the environment, which threads share


def follow_parent(parent: int, temp: Path | None = None) -> None:
    """End this process soon after its parent has gone, even by SIGKILL.

    Args:
        parent: id of the parent, which may have gone already; 0 to do nothing.
        temp: a temporary folder of the parent, which is then removed.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if temp:
            shutil.rmtree(temp, ignore_errors=True)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


@contextmanager
def short_temp_folder(*, locks: bool = False) -> Iterator[Path]:
    """A new temporary folder with a path short enough for sockets, removed at the end.

    The kernel limits the path of a socket to 107 bytes. Batch systems set TMPDIR to longer ones,
    with which loader processes could not send what they have loaded.

    Args:
        locks: whether its disk must know file locks, as some network disks do not.

    Raises:
        CheckError: there is no short folder that can be written to.
    """
    usual = tempfile.gettempdir()
    for base in (usual, "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108
        if len(os.fsencode(base)) > MAX_TEMP_BYTES:
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix="avsep-", dir=base))
        except OSError:
            continue
        if not locks or knows_locks(folder):
            break
        folder.rmdir()
    else:
        raise CheckError(
            f"no folder for sockets: {usual} is longer than {MAX_TEMP_BYTES} bytes or cannot be"
            " written to, nor can /tmp; set TMPDIR to a short folder."
        )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent() -> None:
    """End this worker as soon as the process that wanted it has gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start_worker(environment: dict[str, str]) -> None:
    _end_with_parent()
    os.environ.update(environment)  # the server has that of the time when it started
    import avsep.worker_settings  # noqa: F401

    gc.freeze()  # what the server has imported
    gc.enable()


def _workers_from(function: Callable[..., Any]) -> BaseContext:
    """How worker processes start: forked from a server that has imported what `function` needs.

    Importing PyTorch and the metrics takes seconds per process. A fork of this process could
    deadlock, since it has threads (Prefect, Arrow); the server has none. Only the first function
    of a process counts: for others, its workers import what is missing themselves.
    """
    _start_tracker()  # before Ctrl-C is blocked below, which it would undo
    try:
        short = len(os.fsencode(tempfile.gettempdir())) <= MAX_TEMP_BYTES
    except OSError:
        short = False
    if not short:  # no place for the socket of the server
        return multiprocessing.get_context("spawn")
    module = getattr(function, "func", function).__module__  # of a partial, that of its function
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["avsep.worker_settings", module])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:  # until the server ignores Ctrl-C, it would end with a traceback
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _start_tracker() -> None:
    """Start the process that removes the semaphores of one that was killed, without its warning.

    Whoever stopped the work on purpose would read it after the one sentence that says so.
    """
    with _starting_tracker:
        before = os.environ.get("PYTHONWARNINGS")
        rules = [*filter(None, [before]), "ignore:resource_tracker:UserWarning"]
        os.environ["PYTHONWARNINGS"] = ",".join(rules)
        try:
            multiprocessing.resource_tracker.ensure_running()
        finally:
            del os.environ["PYTHONWARNINGS"]
            if before is not None:
                os.environ["PYTHONWARNINGS"] = before


def _pool(workers: int, function: Callable[..., Any]) -> ProcessPoolExecutor:
    """One pool per size, kept while this process lives: starting one takes a while.

    Raises:
        CheckError: this process may not start others.
    """
    if multiprocessing.current_process().daemon:
        raise CheckError(
            "this worker may not start processes; start a worker of Dask with"
            " DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment."
        )
    if workers not in _pools:
        # Where this process is itself one of multiprocessing (a worker of Dask), it would wait for
        # the pool at its end, before what is registered with `atexit`.
        multiprocessing.util.Finalize(None, close_pools, exitpriority=0)
        _pools[workers] = ProcessPoolExecutor(
            workers,
            mp_context=_workers_from(function),
            initializer=_start_worker,
            initargs=(dict(os.environ),),
        )
    return _pools[workers]


def _discard(workers: int) -> None:
    if pool := _pools.pop(workers, None):
        _kill(pool)
        pool.shutdown(wait=False, cancel_futures=True)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.kill()


@atexit.register
def close_pools() -> None:
    """End all worker processes."""
    for workers in list(_pools):
        _discard(workers)


def interrupt_items() -> None:
    """End all worker processes, and every `map_items` under way in any thread, for good.

    For a process that was asked to end. Without it, `map_items` would take the loss of the workers
    for a crash and start new ones.
    """
    _interrupted.set()
    close_pools()


def is_interrupted() -> bool:
    """Whether this process was asked to end, see `interrupt_items`."""
    return _interrupted.is_set()


def in_child(job: Callable[[], Out], *, timeout_s: float) -> Out:
    """Run a job in a fresh process, whose peak memory is the job's alone.

    Args:
        job: must be picklable, e.g. a `functools.partial` of a module's function.
        timeout_s: limit for the whole job, in seconds.

    Raises:
        TimeoutError: the job took longer; its process is killed.
        BrokenProcessPool: the process was killed, e.g. because memory ran out.
    """
    _start_tracker()
    pool = ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )
    try:
        return pool.submit(job).result(timeout=timeout_s)
    except TimeoutError:
        _kill(pool)
        raise
    finally:
        # Waiting: an interpreter that ends meanwhile prints a traceback of its own.
        pool.shutdown(wait=True, cancel_futures=True)


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

    An item that raises, kills its process or exceeds the timeout yields an `ItemError` and does
    not harm the others. With `workers` 0, everything runs in this process (for debuggers), without
    timeouts.

    Args:
        function: a picklable module-level function.
        items: picklable items.
        workers: number of processes; 0 for none.
        timeout_s: time limit per item, in seconds.
    """
    if workers == 0:
        for item in items:
            try:
                yield item, function(item)
            except ItemError as error:
                yield item, error
            except Exception as error:
                yield item, _internal(error)
        return
    try:
        yield from _map_in_pool(function, deque(items), workers, timeout_s)
    except BaseException:  # this process would wait for what still runs before it ends
        _discard(workers)
        raise


def _map_in_pool(
    function: Callable[[In], Out], todo: deque[In], workers: int, timeout_s: float
) -> Iterator[tuple[In, Out | ItemError]]:
    suspects: deque[In] = deque()  # in flight when a worker died: run one at a time
    refused = 0
    running: dict[Future[Out], tuple[In, float]] = {}
    while todo or suspects or running:
        if _interrupted.is_set():
            raise KeyboardInterrupt
        alone = bool(suspects) and not todo
        width = 1 if alone else workers
        source = suspects if alone else todo
        pool = _pool(workers, function)
        try:
            while source and len(running) < width:
                item = source[0]
                running[pool.submit(function, item)] = (item, time.monotonic() + timeout_s)
                source.popleft()
                refused = 0
        except (BrokenProcessPool, ConnectionError, EOFError) as error:
            # The server of the workers may have been killed, and not be known to be dead yet.
            if not isinstance(error, BrokenProcessPool):
                refused += 1
                if refused == MAX_REFUSALS:
                    raise
                time.sleep(REFUSED_WAIT_S)
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
    """Give up on the items past their time limit; the others in flight start again."""
    now = time.monotonic()
    for item, limit in running.values():
        if limit <= now:
            yield item, ItemError(Reason.TIMED_OUT, f"took more than {timeout_s:g} s")
        else:
            suspects.append(item)
    running.clear()


def _internal(error: Exception) -> ItemError:
    if (fault := disk_item_error(error)) is not None:
        return fault
    log.error("internal error", exc_info=error)
    return ItemError(Reason.INTERNAL, f"{type(error).__name__}: {error}")
