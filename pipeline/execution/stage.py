"""How a stage is run: plan its batches, work on each, publish the result.

A stage is a config class and three functions (see `Stage`). Everything slow is in `work`, which
may be killed at any moment and called again. `run_stage` is the only loop: it works on batches in
this process, or wherever its `submit` sends them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from avsep.errors import CheckError, Reason, State
from avsep.files import remove_temporary_files
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress, StepProgress, duration, hidden_progress
from avsep.workspace import Workspace
from pipeline.disk import check_space
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import clear_failures, failures_of
from pipeline.execution.turn import own_turn

# Failures that say nothing about the item. A clip that kills its worker or never ends would do so
# in each run: it stays failed until somebody asks for another try.
HEALED_BY_A_RESTART = (Reason.OUT_OF_SPACE, Reason.DISK_FAILED)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A unit of work that takes at least some seconds: one shard, or a few hundred clips.

    Attributes:
        name: short and safe as a file name; the same inputs give the same name.
        items: ids of the items, sorted.
        settings: hash of everything that decides the result (config, inputs).
        rows: what the stage works on, so that no batch searches the whole table again.
    """

    name: str
    items: tuple[str, ...]
    settings: str = ""
    rows: Sequence[Any] = field(default=(), compare=False)  # may hold NaN, which equals nothing


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage did, for people and for artifacts.

    Attributes:
        stage: name of the stage.
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
        facts = [
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in self.facts.items()
        ]
        return f"{self.stage}: {', '.join([str(self.counts), *facts])} in {duration(self.seconds)}"


Plan = Callable[[Any, Workspace], list[Batch]]
Work = Callable[[Any, Workspace, Batch, Progress], list[Outcome]]
Finish = Callable[[Any, Workspace, Sequence[Batch], Sequence[Outcome]], StageReport]


@dataclass(frozen=True)
class Stage:
    """One stage of the workflow.

    Attributes:
        name: the word that `dvc.yaml`, `params.yaml`, the module, its test and the flow share.
        config: class of its section in `params.yaml`.
        plan: the batches, from the inputs alone; the same inputs give the same plan.
        work: does one batch, or what is left of it; returns the outcome of each item.
        finish: publishes the output of the finished batches.
        per_model: whether it runs once per model.
        resumes: whether the same command goes on with an item that has failed; else failures stay
            until somebody asks to try them again.
        trains: what it trains, where that is one thing; it may then run beside the trainings and
            evaluations of models.
        purpose: what it does, in words for people; `{model}` stands for the title of the model.
        on_one_gpu: from the settings to those of a worker of a cluster that owns one GPU; None
            where its batches need no GPU.
    """

    name: str
    config: type[Any]
    plan: Plan
    work: Work
    finish: Finish
    per_model: bool = False
    resumes: bool = False
    trains: str = ""
    purpose: str = ""
    on_one_gpu: Callable[[Any], Any] = lambda _config: None


Submit = Callable[[Batch, Progress], Callable[[], list[Outcome]]]
"""Starts a batch; what it returns waits for the outcomes."""


def run_stage(
    stage: Stage,
    config: Any,
    workspace: Workspace,
    *,
    progress: StepProgress = hidden_progress,
    submit: Submit | None = None,
    retry_failed: bool = False,
) -> StageReport:
    """Run a stage: plan, work on every batch, finish.

    Args:
        stage: the stage.
        config: an instance of its config class.
        workspace: folders of the project.
        progress: shows progress under a title, given the number of items.
        submit: sends batches elsewhere; None works on them here, one after the other.
        retry_failed: whether to try items again that failed.

    Raises:
        CheckError: another stage is at work, the disk cannot hold the result, too many items
            failed, or the stage itself cannot go on.
    """
    submit = submit or partial(_here, stage, config, workspace)
    trained = config.model if stage.per_model else stage.trains
    with own_turn(workspace, stage.name, trained) as alone:
        if alone:
            _remove_leftovers(stage, workspace)
        return _run(stage, config, workspace, progress, submit, retry_failed)


def _run(
    stage: Stage,
    config: Any,
    workspace: Workspace,
    progress: StepProgress,
    submit: Submit,
    retry_failed: bool,
) -> StageReport:
    started = time.monotonic()
    batches = stage.plan(config, workspace)
    if retry_failed:
        Ledger(workspace.ledger).reset_failed_sources(stage.name, failures_of(""))
    reasons = None if stage.resumes or retry_failed else HEALED_BY_A_RESTART
    clear_failures(stage.name, workspace, reasons, batches)
    check_space(stage.name, config, workspace, batches)
    outcomes: list[Outcome] = []
    title = f"{stage.name} {config.model}" if stage.per_model else stage.name
    with progress(title, sum(len(batch.items) for batch in batches)) as advance:
        for batch, result in [(batch, submit(batch, advance)) for batch in batches]:
            ended = result()
            # The ledger has one writer, and need not lie where other machines can reach it.
            _record(workspace, stage.name, batch, ended)
            outcomes += ended
    items = [outcome.item for outcome in outcomes]
    Ledger(workspace.ledger).keep_only(stage.name, items, config.model if stage.per_model else "")
    _check_failures(stage, outcomes, getattr(config, "max_failed_share", 0.0))
    report = stage.finish(config, workspace, batches, outcomes)
    return replace(report, seconds=time.monotonic() - started)


def _remove_leftovers(stage: Stage, workspace: Workspace) -> None:
    """Remove temporary files of runs that were killed; in its own folder, a training does so."""
    remove_temporary_files(workspace.data, deep=False)
    remove_temporary_files(workspace.work(stage.name), deep=not stage.resumes)


def _here(
    stage: Stage, config: Any, workspace: Workspace, batch: Batch, progress: Progress
) -> Callable[[], list[Outcome]]:
    return partial(stage.work, config, workspace, batch, progress)


def _record(workspace: Workspace, stage: str, batch: Batch, outcomes: list[Outcome]) -> None:
    """Check that each item of a batch ended exactly once, then write the ledger."""
    assert sorted(o.item for o in outcomes) == sorted(batch.items), (
        f"{stage} {batch.name}: {len(outcomes)} outcomes for {len(batch.items)} items"
    )
    Ledger(workspace.ledger).record(stage, outcomes)


def _check_failures(stage: Stage, outcomes: Sequence[Outcome], max_failed_share: float) -> None:
    counts = Counts.of(outcomes)
    failed = counts.failed.total()
    if not counts.total or failed / counts.total <= max_failed_share:
        return
    first = next(outcome for outcome in outcomes if outcome.state is State.FAILED)
    if stage.resumes:
        raise CheckError(f"{stage.name} {first.item} failed: {first.message}")
    if all(reason in HEALED_BY_A_RESTART for reason in counts.failed):
        raise CheckError(
            f"{stage.name}: {failed} of {counts.total} items failed: {first.message}; the same"
            " command goes on when that is mended."
        )
    reasons = ", ".join(f"{code} {n}" for code, n in sorted(counts.failed.items()))
    raise CheckError(
        f"{stage.name}: {failed} of {counts.total} items failed ({reasons}), more than the share"
        f" {max_failed_share:g} that params.yaml allows; `avsep ledger failures {stage.name}`"
        f" names them, `avsep run {stage.name} --retry-failed` tries them again."
    )
