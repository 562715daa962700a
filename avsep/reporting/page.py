"""Render the page: one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.files import read_jsonl
from avsep.git import git_commit
from avsep.outcome import Counts
from avsep.reporting import charts, corpus, literature, scores, tables
from avsep.reporting.curves import training_curves
from avsep.reporting.gather import ModelResults, gather_models
from avsep.reporting.listening import gather_examples
from avsep.reporting.numbers import NO_FIGURE, number, scaled
from avsep.reporting.parts import parts
from avsep.reporting.provenance import versions
from avsep.reporting.recorded import recorded_table
from avsep.reporting.training import gather_trainings
from avsep.reporting.training_table import training_rows
from avsep.schema import RATE_HZ
from avsep.workspace import Workspace

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class TestList:
    """The list of test mixtures.

    Attributes:
        name: protocol, version and seed, e.g. `strict-2mix, version 1, seed 0`; empty if there is
            no list.
        mixtures: number of mixtures that were evaluated.
        speakers: number of wanted speakers.
        seconds: length of a mixture, in seconds.
    """

    name: str = ""
    mixtures: int = 0
    speakers: int = 0
    seconds: float = 0.0


def render_page(
    workspace: Workspace,
    *,
    models: Sequence[str],
    title: str,
    max_examples: int,
    ledger: Mapping[str, Counts],
    recordings: Sequence[Path] = (),
) -> str:
    """Render the page as HTML.

    Args:
        workspace: folders of the project; the page says which results are missing.
        models: names of the models, in the order of the tables.
        title: title of the page.
        max_examples: number of mixtures to listen to.
        ledger: how the items of each stage ended.
        recordings: folders with the scores of recorded mixtures.

    Raises:
        CheckError: a file is damaged.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    results = gather_models(workspace, models)
    trainings = gather_trainings(workspace, models)
    dropped = corpus.dropped_clips(workspace)
    script = (TEMPLATES / "page.js").read_text("utf-8")
    style = (TEMPLATES / "page.css").read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(
        "page.html"
    ).render(
        title=title,
        # The policy allows only these two files of ours, by their hashes.
        script=Markup(script),  # noqa: S704
        style=Markup(style),  # noqa: S704
        policy=_policy(script, style),
        test_list=_test_list(workspace, results),
        models=results,
        any_evaluated=any(model.evaluated for model in results),
        result_tables=_result_tables(results),
        comparisons=tables.comparison_sentences(results),
        recorded=recorded_table(recordings),
        problems=tables.problem_sentences(results),
        part_models=[model.title for model in results if model.evaluated],
        parts=parts(results),
        published_scores=[
            (heading, [_score_row(score) for score in of_group])
            for heading, of_group in literature.league()
        ],
        published_notes=literature.SCORE_NOTES,
        published_costs=[
            (c.model, scaled(c.parameters, 1e6, 2, "M"), c.macs, c.latency, c.source)
            for c in literature.COSTS
        ],
        damage_curves=charts.damage_curves(results),
        box_plot=charts.box_plot(results),
        scatters=charts.scatter_plots(results),
        examples=gather_examples(results, max_examples),
        curves=[(training, training_curves(training)) for training in trainings],
        trained=[training.title for training in trainings if training.card is not None],
        training_rows=training_rows(trainings),
        splits=corpus.split_rows(workspace),
        dropped=dropped,
        drop_bars=charts.drop_bars([(row.reason, row.clips) for row in dropped.rows])
        if dropped
        else None,
        score_histograms=scores.histograms(scores.gather_scores(workspace)),
        ledger=ledger,
        costs=tables.cost_rows(results),
        versions=versions(),
        measured_with=sorted({m.cost["versions"] for m in results if m.cost}),
        commit=git_commit(workspace.root)[:12],
    )


def _result_tables(models: Sequence[ModelResults]) -> list[dict[str, Any]]:
    """The two tables of results: how good the voices are, and whether the video decides them."""
    rows = tables.result_rows(models)
    found = []
    for names in (tables.QUALITY, tables.VIDEO):
        shown = [row for row in rows if row.note or any(row.cells[n] != NO_FIGURE for n in names)]
        found.append(
            {
                "titles": [tables.COLUMNS[name].title for name in names],
                "rows": [(row, [row.cells[name] for name in names]) for row in shown],
            }
        )
    return found


def _policy(script: str, style: str) -> str:
    """A content security policy that allows our script and style, and loads nothing."""

    def digest(text: str) -> str:
        # Browsers normalise line ends to \n and hash the text between the tags.
        value = hashlib.sha256(text.replace("\r\n", "\n").encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(value).decode('ascii')}'"

    return (
        "default-src 'none'; img-src data:; media-src data:;"
        f" script-src {digest(script)}; style-src {digest(style)}; base-uri 'none';"
        " form-action 'none'"
    )


def _test_list(workspace: Workspace, models: Sequence[ModelResults]) -> TestList:
    metrics = next((model.metrics for model in models if model.metrics is not None), None)
    if metrics is None:
        return TestList()
    path = workspace.mixtures / "test.jsonl"
    first: dict[str, Any] = next(iter(read_jsonl(path)), {}) if path.is_file() else {}
    return TestList(
        name=f"{first['protocol']}, version {first['version']}, seed {first['seed']}"
        if {"protocol", "version", "seed"} <= first.keys()
        else "",
        mixtures=int(metrics["mixtures"]),
        speakers=int(metrics["speakers"]),
        seconds=first.get("num_samples", 0) / RATE_HZ,
    )


def _score_row(score: literature.PublishedScore) -> tuple[str, ...]:
    return (
        score.model,
        score.data,
        number(score.si_snri, 1),
        number(score.sdri, 1),
        number(score.pesq, 2),
        score.source,
    )
