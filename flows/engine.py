"""How a stage becomes a Prefect flow: one task a batch, retries, progress, a summary artifact."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from prefect import Flow, flow, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import State

from flows.runners import engine, task_runner
from flows.server import api_url
from pipeline.config import load_stage
from pipeline.errors import AvsepError
from pipeline.ledger import Outcome
from pipeline.runner import (
    Batch,
    Progress,
    StageReport,
    finish_stage,
    interrupt_items,
    no_progress,
    record_batch,
    stage_module,
)
from pipeline.storage import Workspace
from pipeline.terminal import stage_progress

MODEL_STAGES = ("train", "evaluate")
RETRIES = 2
RETRY_DELAYS_S = [5.0, 30.0]
PROGRESS_EVERY_S = 5.0
GRACE_S = 10.0  # for Prefect to write down that a flow was ended


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
    """A progress bar in the Prefect page, updated now and then from any thread."""

    def __init__(self, stage: str, total: int) -> None:
        self._total, self._done, self._shown = max(total, 1), 0, 0.0
        self._lock = threading.Lock()
        created = create_progress_artifact(progress=0.0, key=f"{stage}-progress")
        self._id: UUID = created if isinstance(created, UUID) else UUID(str(created))

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._shown < PROGRESS_EVERY_S and self._done < self._total:
                return
            self._shown = now
            percent = min(100.0, 100.0 * self._done / self._total)
        update_progress_artifact(artifact_id=self._id, progress=percent)


@task(
    name="batch",
    task_run_name="{stage} {batch.name}",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAYS_S,
    retry_jitter_factor=0.5,
    retry_condition_fn=_can_heal,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def work_batch(
    stage: str, config: Any, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Do one batch, here or on another machine."""
    return stage_module(stage).work(config, workspace, batch, progress)


def _run(stage: str, root: str, model: str) -> StageReport:
    """The body of every stage flow."""
    started = time.monotonic()
    far = engine() != "local"
    workspace = Workspace(Path(root).resolve())
    config = load_stage(workspace.root / "params.yaml", stage)
    if model:
        config = replace(config, model=model)
    module = stage_module(stage)
    batches = module.plan(config, workspace)
    total = sum(len(batch.items) for batch in batches)
    artifact = _ProgressArtifact(stage, total)
    with stage_progress(f"{stage} {model}".strip(), total) as bar:

        def progress(count: int) -> None:
            bar(count)
            artifact(count)

        # A worker of Dask cannot reach the bar: there it moves when a batch has ended.
        inside = no_progress if far else progress
        futures = [
            (batch, work_batch.submit(stage, config, workspace, batch, inside)) for batch in batches
        ]
        outcomes: list[Outcome] = []
        for batch, future in futures:
            ended = future.result()
            # The ledger has one writer, and need not lie where machines could share it.
            record_batch(workspace, stage, batch, ended)
            outcomes += ended
            if far:
                progress(len(ended))
    report = finish_stage(stage, module, config, workspace, outcomes, started)
    create_table_artifact(
        key=f"{stage}-summary",
        table=_summary_rows(report),
        description=report.sentence(),
    )
    return report


def _summary_rows(report: StageReport) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"what": "done", "value": report.counts.done}]
    rows += [
        {"what": f"dropped: {code}", "value": n}
        for code, n in sorted(report.counts.dropped.items())
    ]
    rows += [
        {"what": f"failed: {code}", "value": n} for code, n in sorted(report.counts.failed.items())
    ]
    return rows + [{"what": key, "value": value} for key, value in report.facts.items()]


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
        # Whatever still hangs then (a request to a server that is gone, say) is not waited for.
        exit_timer = threading.Timer(GRACE_S, os._exit, (128 + number,))
        exit_timer.daemon = True
        exit_timer.start()
        interrupt_items()
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
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


def _children() -> list[int]:
    """The direct children of this process."""
    tasks = Path("/proc/self/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def main(stage_run: Flow[Any, StageReport], stage: str) -> None:
    """The command line of `python -m flows.<stage>`; exits 0, 1 (failed), 2 (usage), 130."""
    parser = argparse.ArgumentParser(prog=f"python -m flows.{stage}", description=stage_run.__doc__)
    parser.add_argument("--root", default=".", help="the project folder")
    if stage in MODEL_STAGES:
        parser.add_argument("--model", required=True, help="dolphin, vovit-s1 or vovit")
    arguments = parser.parse_args()
    state_dir = Workspace(Path(arguments.root).resolve()).work("prefect")
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    try:
        settings = {PREFECT_API_URL: api_url(state_dir), PREFECT_HOME: state_dir / "home"}
        with temporary_settings(updates=settings):
            report = stage_run(root=arguments.root, model=getattr(arguments, "model", ""))
    except AvsepError as error:
        print(f"avsep: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"avsep: {stage} was interrupted; the next run finishes the rest.", file=sys.stderr)
        sys.exit(130)
    print(report.sentence())
