"""The page: one HTML file that needs nothing else, neither files nor network."""

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
from avsep.reporting.gather import ModelResults, gather_models
from avsep.reporting.listening import gather_examples
from avsep.reporting.numbers import METRICS, number, scaled
from avsep.reporting.provenance import versions
from avsep.schema import RATE_HZ
from avsep.workspace import Workspace

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The list of test mixtures in words.

    Attributes:
        name: e.g. `strict-2mix, version 1`; empty where there is no list.
        mixtures: how many were evaluated.
        speakers: how many wanted speakers they have.
        seconds: length of a mixture.
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
) -> str:
    """The page as HTML.

    Args:
        workspace: the project's folders; whatever is missing there is named on the page.
        models: which models, in the order of the tables.
        title: of the page.
        max_examples: mixtures with players.
        ledger: how the items of each stage ended.

    Raises:
        CheckError: a file is there but damaged.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    results = gather_models(workspace, models)
    drops = corpus.drops(workspace)
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
        # Our own two files, and nothing else may run or style: the policy names their hashes.
        script=Markup(script),  # noqa: S704
        style=Markup(style),  # noqa: S704
        policy=_policy(script, style),
        protocol=_protocol(workspace, results),
        models=results,
        any_evaluated=any(model.evaluated for model in results),
        result_titles=[METRICS[metric][0] for metric in tables.RESULT_COLUMNS],
        result_lines=tables.result_lines(results),
        comparisons=tables.comparison_sentences(results),
        problems=tables.problem_sentences(results),
        breakdowns=_breakdowns(results),
        published_scores=[_score_row(score) for score in literature.SCORES],
        published_notes=literature.SCORE_NOTES,
        published_costs=[
            (c.model, scaled(c.parameters, 1e6, 2, "M"), c.macs, c.latency, c.source)
            for c in literature.COSTS
        ],
        box_plot=charts.box_plot(results),
        scatters=[(m.title, uri) for m in results if (uri := charts.scatter_plot(m))],
        examples=gather_examples(results, max_examples),
        curves=[(model, charts.training_curves(model)) for model in results],
        splits=corpus.split_lines(workspace),
        drops=drops,
        drop_bars=charts.drop_bars([(line.reason, line.clips) for line in drops.lines])
        if drops
        else None,
        score_histograms=scores.histograms(scores.gather_scores(workspace)),
        ledger=corpus.ledger_lines(ledger),
        costs=tables.cost_lines(results),
        versions=versions(),
        measured_with=sorted({m.cost["versions"] for m in results if m.cost}),
        commit=git_commit(workspace.root)[:12],
    )


def _policy(script: str, style: str) -> str:
    """A content security policy: nothing is loaded, only our script and style run."""

    def digest(text: str) -> str:
        # A browser sees line ends as \n and hashes what stands between the tags.
        value = hashlib.sha256(text.replace("\r\n", "\n").encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(value).decode('ascii')}'"

    return (
        "default-src 'none'; img-src data:; media-src data:;"
        f" script-src {digest(script)}; style-src {digest(style)}; base-uri 'none';"
        " form-action 'none'"
    )


def _protocol(workspace: Workspace, models: Sequence[ModelResults]) -> Protocol:
    metrics = next((model.metrics for model in models if model.metrics is not None), None)
    if metrics is None:
        return Protocol()
    path = workspace.mixtures / "test.jsonl"
    first: dict[str, Any] = next(iter(read_jsonl(path)), {}) if path.is_file() else {}
    return Protocol(
        name=f"{first['protocol']}, version {first['version']}" if "protocol" in first else "",
        mixtures=int(metrics["mixtures"]),
        speakers=int(metrics["speakers"]),
        seconds=first.get("num_samples", 0) / RATE_HZ,
    )


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """SI-SNRi of each model for the parts of the list.

    Attributes:
        title: of the table.
        explanation: one sentence.
        columns: names of the parts.
        lines: a line a model.
    """

    title: str
    explanation: str
    columns: tuple[str, ...]
    lines: tuple[tables.Line, ...]


_BREAKDOWNS = (
    ("By genders of the pair", "f: female, m: male.", "by_pair"),
    (
        "Base voices that occur only in the test set",
        "No speaker built on these voices was met in training.",
        "by_group.unheard",
    ),
    (
        "Base voices that training met in other speakers",
        "The speakers are new, their base voice is not.",
        "by_group.heard",
    ),
)
MAX_COLUMNS = 12  # a corpus without groups has one for each speaker


def _breakdowns(models: Sequence[ModelResults]) -> list[Breakdown]:
    found = []
    for title, explanation, section in _BREAKDOWNS:
        columns = tables.section_columns(models, section)
        if 0 < len(columns) <= MAX_COLUMNS:
            found.append(
                Breakdown(
                    title=title,
                    explanation=explanation,
                    columns=tuple(columns),
                    lines=tuple(tables.section_lines(models, section)),
                )
            )
    return found


def _score_row(score: literature.PublishedScore) -> tuple[str, ...]:
    return (
        score.model,
        score.data,
        number(score.si_snri, 1),
        number(score.sdri, 1),
        number(score.pesq, 2),
        score.source,
    )
