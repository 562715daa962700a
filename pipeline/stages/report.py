"""report: one self-contained HTML page of all results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avsep.errors import CheckError
from avsep.files import expand_home, link_or_copy, replaced_directory, write_text
from avsep.models.registry import MODELS
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.validation import check_at_least, check_not_empty, check_positive
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.stage import Batch, Stage, StageReport

NAME = "report"
PAGE = "index.html"


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What the page shows.

    Attributes:
        title: title of the page.
        models: names of the models, in the order of the tables.
        max_examples: number of mixtures with players and pictures; each takes a few hundred KiB.
        recordings: folders that `avsep recordings` wrote, relative to the project or absolute; each
            is a row of the table of recorded mixtures, beside those of `evaluate.recordings`.
        max_size_mb: largest size of the page, in MB; a larger page is an error, since browsers
            and mail servers cannot handle it.
    """

    title: str = "Two voices, one face: results"
    models: tuple[str, ...] = tuple(MODELS)
    max_examples: int = 4
    recordings: tuple[str, ...] = ()
    max_size_mb: float = 20.0

    def __post_init__(self) -> None:
        check_not_empty(self, "models")
        check_at_least(self, 0, "max_examples")
        check_positive(self, "max_size_mb")


def plan(config: ReportConfig, workspace: Workspace) -> list[Batch]:
    """One batch with one item: the page. It is rendered in each run, since that is quick."""
    return [Batch(name="page", items=(PAGE,))]


def work(
    config: ReportConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Render the page into the work folder.

    Raises:
        CheckError: an input is damaged, or the page is too large.
    """
    from avsep.evaluation.publish import RECORDINGS
    from avsep.reporting.page import render_page
    from pipeline.stages import STAGES  # here: it imports this module

    counts = Ledger(workspace.ledger).all_counts()
    sets = [workspace.evaluation(model) / RECORDINGS for model in config.models]
    html = render_page(
        workspace,
        models=config.models,
        title=config.title,
        max_examples=config.max_examples,
        recordings=[
            *(folder for below in sets for folder in sorted(below.glob("*"))),
            *(workspace.root / expand_home(name) for name in config.recordings),
        ],
        # Without this stage, of which only a second run would know.
        ledger={stage: counts[stage] for stage in STAGES if stage in counts and stage != NAME},
    )
    size_mb = len(html.encode("utf-8")) / 1e6
    if size_mb > config.max_size_mb:
        raise CheckError(
            f"the page is {size_mb:.1f} MB large, but report.max_size_mb is"
            f" {config.max_size_mb:g}; lower report.max_examples, or raise the limit."
        )
    write_text(workspace.work(NAME) / PAGE, html)
    progress(1)
    return [Outcome.done(PAGE)]


def finish(
    config: ReportConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the page."""
    page = workspace.work(NAME) / PAGE
    with replaced_directory(workspace.report) as out:
        link_or_copy(page, out / PAGE)
    size_mb = round(page.stat().st_size / 1e6, 2)
    return StageReport(
        stage=NAME,
        counts=Counts.of(outcomes),
        facts={"page": str(workspace.report / PAGE), "MB": size_mb},
    )


STAGE = Stage(NAME, ReportConfig, plan, work, finish, purpose="write the page of all results")
