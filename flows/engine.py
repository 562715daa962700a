"""How a stage becomes a Prefect flow: one task per batch, retries, progress, a summary artifact."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import httpx
import psutil
from prefect import Flow, flow, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.states import State

from avsep.errors import CheckError
from avsep.outcome import Outcome
from avsep.processes import interrupt_items
from avsep.progress import (
    NotedProgress,
    Progress,
    duration,
    no_progress,
    note,
    show_progress,
)
from avsep.terminal import echo
from avsep.workspace import PARAMS, Workspace
from flows.runners import engine, lost_by_dask, task_runner
from pipeline.config import for_model, load_configs
from pipeline.execution.stage import Batch, StageReport, run_stage
from pipeline.execution.turn import one_batch
from pipeline.stages import STAGES

RETRIES = 2
RETRY_DELAYS_S = [5.0, 30.0]
PROGRESS_EVERY_S = 5.0
GRACE_S = 4.0  # for Prefect to write down that a flow was ended
LAST_WORDS_S = 0.5
ENDED = "avsep: the stage was ended; run it again to go on."

asked: list[int] = []
"""The signals that have asked this process to end."""


def _can_heal(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Retry a batch only after errors that time can heal: the machine's, not the data's."""
    try:
        state.result()
    except (OSError, MemoryError):
        return True
    except BaseException:  # the flow raises it; here it only decides
        return False
    return False


class _ProgressArtifact:
    """A progress bar in the Prefect page with a sentence, updated now and then from any thread.

    Where the server has gone, the work goes on without.

    Attributes:
        how: how the work goes, for the sentence.
    """

    def __init__(self, stage: str, total: int) -> None:
        self.how = ""
        self._total, self._done, self._shown = max(total, 1), 0.0, 0.0
        self._started = time.monotonic()
        self._lock = threading.Lock()
        created = create_progress_artifact(progress=0.0, key=f"{stage}-progress")
        self._id: UUID = created if isinstance(created, UUID) else UUID(str(created))

    def __call__(self, count: float) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            is_last = self._done >= self._total - 1e-6 and self._shown < math.inf
            if now - self._shown < PROGRESS_EVERY_S and not is_last:
                return
            self._shown = now
            percent = min(100.0, 100.0 * self._done / self._total)
            sentence = self._sentence(now - self._started)
        try:
            update_progress_artifact(artifact_id=self._id, progress=percent, description=sentence)
        except httpx.HTTPError:
            self._shown = math.inf  # each try takes a minute

    def _sentence(self, passed: float) -> str:
        text = f"{self._done:,.0f} of {self._total:,} in {duration(passed)}"
        if 0 < self._done < self._total:
            text += f", {duration(passed / self._done * (self._total - self._done))} left"
        return f"{text}. {self.how}".strip()


@task(
    name="batch",
    task_run_name="{stage} {batch_name}",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_jitter_factor=0.5,
    retry_condition_fn=_can_heal,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def work_batch(
    stage: str, batch_name: str, work: Callable[[Progress], list[Outcome]], progress: Progress
) -> list[Outcome]:
    """Do one batch, here or on another machine."""
    return one_batch(partial(work, progress))


def _run(stage: str, root: str, model: str) -> StageReport:
    """The body of every stage flow."""
    far = engine() != "local"
    workspace = Workspace(Path(root).resolve())
    # All of it, so that a mistake in a later section does not show after hours of work.
    config = for_model(STAGES[stage], load_configs(workspace.root / PARAMS)[stage], model)
    of_worker = config
    placed: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    if far and (on_gpu := STAGES[stage].on_one_gpu(config)):
        from flows.gpus import on_gpu_worker, wait_for_gpu

        context = FlowRunContext.get()
        assert context, "only flows run stages here"
        wait_for_gpu(context.task_runner)
        of_worker, placed = on_gpu, on_gpu_worker

    @contextlib.contextmanager
    def progress(title: str, total: int) -> Iterator[Progress]:
        artifact = _ProgressArtifact(stage, total)
        with show_progress(title, total) as bar:

            def advance(count: float) -> None:
                bar(count)
                artifact(count)

            def show(text: str) -> None:
                note(bar, text)
                artifact.how = text

            yield NotedProgress(advance, show)

    def submit(batch: Batch, advance: Progress) -> Callable[[], list[Outcome]]:
        # A worker of Dask cannot reach the bar: there it moves when a batch has ended.
        inside = no_progress if far else advance
        # One value, in which Prefect does not look for futures: it would in every row of a batch.
        work = partial(STAGES[stage].work, of_worker, workspace, batch)
        with placed():
            future = work_batch.submit(stage, batch.name, work, inside)

        def result() -> list[Outcome]:
            try:
                ended: list[Outcome] = future.result()
            except Exception as error:
                if fault := lost_by_dask(error):
                    raise CheckError(f"{stage} {batch.name}: {fault}") from error
                raise
            if far:
                advance(len(ended))
            return ended

        return result

    report = run_stage(STAGES[stage], config, workspace, progress=progress, submit=submit)
    rows: list[dict[str, Any]] = [
        {"what": f"{state}: {reason}" if reason else str(state), "value": count}
        for state, reason, count in report.counts.rows()
    ]
    rows += [{"what": key, "value": value} for key, value in report.facts.items()]
    create_table_artifact(key=f"{stage}-summary", table=rows, description=report.sentence())
    return report


def stage_flow(stage: str) -> Flow[Any, StageReport]:
    """The Prefect flow of a stage: `root` is the project folder, `model` only where it counts."""

    @flow(
        name=stage,
        task_runner=task_runner(),
        persist_result=False,
        validate_parameters=False,
    )
    def run(root: str = ".", model: str = "") -> StageReport:
        with children_end_first():
            return _run(stage, root, model)

    return run


@contextlib.contextmanager
def children_end_first() -> Iterator[None]:
    """On TERM or INT, end what this process started before Prefect's own handler ends the flow.

    Otherwise the flow's threads would wait for their children, which know of nothing. Prefect hears
    of a crash of the flow; the next run finishes the rest.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        # Whatever still hangs then (a request to a server that is gone, say) is not waited for.
        exit_timer = threading.Timer(GRACE_S, _exit, (128 + number,))
        exit_timer.daemon = True
        exit_timer.start()
        interrupt_items()
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            raise SystemExit(128 + number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(code: int) -> None:
    # Whoever was to read it may have gone, or have stopped reading.
    says = threading.Thread(target=echo, args=(ENDED,), kwargs={"err": True}, daemon=True)
    says.start()
    says.join(LAST_WORDS_S)
    os._exit(code)
