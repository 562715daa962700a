"""The report page: complete, self-contained, escaped, and clear about what is missing."""

from __future__ import annotations

import base64
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError
from avsep.files import write_json, write_text
from avsep.reporting.gather import gather_model
from avsep.reporting.media import read_wav, sound_uri
from avsep.reporting.numbers import DASH, figure_text, number
from avsep.reporting.page import render_page
from avsep.reporting.table import summary_table
from avsep.reporting.training import gather_training, read_log
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.stages import report
from pipeline.stages.report import ReportConfig
from tests.support.report_world import LEVELS, make_data, make_evaluation, make_run

VOID = {"meta", "link", "img", "br", "input", "hr"}
LOADING = {"src", "href", "srcset", "poster", "data", "action", "xlink:href"}


class Page(HTMLParser):
    """Collects the tags and checks their nesting."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def render(workspace: Workspace, **changes) -> str:
    options = {
        "models": tuple(LEVELS),
        "title": "Results",
        "max_examples": 4,
        "ledger": Ledger(workspace.ledger).all_counts(),
    }
    return render_page(workspace, **(options | changes))


@pytest.fixture(scope="module")
def html(full_workspace) -> str:
    return render(full_workspace)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


@pytest.mark.slow
def test_every_picture_and_sound_is_inside_the_page_and_nothing_is_loaded(page, html):
    pictures, sounds = page.all("img"), page.all("audio")
    # 2 examples: the mixture, and for each of 2 voices the target and 3 models x 3 conditions
    assert len(sounds) == 2 * (1 + 2 * (1 + 3 * 3))
    assert len(pictures) >= 1 + 3 + 3 + 1 + 2 * (1 + 2 * (1 + 1 + 3))
    for attributes in pictures + sounds:
        assert attributes["src"].startswith("data:")
    for _, attributes in page.tags:
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith(("data:", "#")), attributes
    assert "@import" not in html
    assert "url(" not in html
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_sounds_decode_to_what_was_evaluated(page, full_workspace):
    import io

    import numpy as np
    import soundfile

    first = page.all("audio")[0]["src"]
    kind, _, content = first.partition(";base64,")
    assert kind == "data:audio/flac"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    directory = full_workspace.evaluation("dolphin") / "examples" / "test-00000"
    wanted = read_wav(directory / "mixture.wav")
    assert rate == 16_000
    assert np.array_equal(samples, wanted)


def test_without_soundfile_the_sounds_stay_wav(full_workspace, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "soundfile", None)
    path = full_workspace.evaluation("dolphin") / "examples" / "test-00000" / "mixture.wav"
    assert sound_uri(path).startswith("data:audio/wav;base64,UklGR")


def test_the_page_shows_the_figures_of_the_evaluation(page, full_workspace):
    for model in LEVELS:
        metrics = json.loads((full_workspace.evaluation(model) / "metrics_full.json").read_text())
        for condition in ("own", "other", "none"):
            figure = metrics["overall"][condition]["si_snri"]
            assert number(figure["mean"], 2) in page.words
            assert f"{number(figure['low'], 2)} to {number(figure['high'], 2)}" in page.words
    assert "VoViT minus VoViT stage 1, paired over 28 voices" in page.words
    assert "voice-b" in page.words
    assert "Base voices that occur only in the test set" in page.words


@pytest.mark.slow
def test_recorded_mixtures_have_a_table_of_the_folders_that_are_named(full_workspace, tmp_path):
    def figure(mean):
        return {"mean": mean, "low": mean - 1, "high": mean + 1, "rows": 4, "excluded": 0}

    common = {"recordings": 3, "voices": 6, "failed": []}
    write_json(
        tmp_path / "far" / "metrics_full.json",
        {"model": "dolphin", "with_reference": 4, **common,
         "figures": {"si_snri": figure(-2.5), "both_right": figure(0.5)}},
    )  # fmt: skip
    write_json(
        tmp_path / "near" / "metrics_full.json",
        {"model": "<b>", "with_reference": 0, **common, "figures": {"dnsmos_ovr": figure(2.75)}},
    )
    page = Page(render(full_workspace, recordings=[tmp_path / "far", tmp_path / "near"]))
    for words in (
        "far: 3 recordings, 6 voices, 4 with a reference", "−2.50", "50.0", "<b>", "2.75",
        "−3.50 to −1.50", "DNSMOS",
    ):  # fmt: skip
        assert words in page.words
    assert "NISQA" not in page.words  # nothing measured it
    folders = [tmp_path / name / "far" for name in ("", "again", "1/same", "2/same")]
    for folder in folders[1:]:
        shutil.copytree(tmp_path / "far", folder)
    page = Page(render(full_workspace, recordings=folders))
    for label in (f"{tmp_path.name}/far", "again/far", "1/same/far", "2/same/far"):
        assert f"{label}: 3 recordings" in page.words
    assert "Recorded mixtures" not in Page(render(full_workspace)).words
    with pytest.raises(CheckError, match=r"names .*elsewhere, which has no metrics_full\.json"):
        render(full_workspace, recordings=[tmp_path / "elsewhere"])
    write_json(tmp_path / "near" / "metrics_full.json", {"model": "x"})
    with pytest.raises(CheckError, match="damaged"):
        render(full_workspace, recordings=[tmp_path / "near"])


def test_sir_and_the_share_that_is_worse_are_in_the_table(page, full_workspace):
    titles = [text for text in page.text if text in ("SIR (dB)", "Worse than the mixture (%)")]
    assert len(titles) == 2
    for model in LEVELS:
        metrics = json.loads((full_workspace.evaluation(model) / "metrics_full.json").read_text())
        own = metrics["overall"]["own"]
        assert number(own["sir"]["mean"], 2) in page.text
        if model == "dolphin":  # the first one, whose list gives the row of the mixture
            assert number(own["sir_mixture"]["mean"], 2) in page.text
        assert number(100 * metrics["faces"]["worse"]["mean"], 1) in page.text


def test_each_speaker_has_a_row_with_the_mean_of_each_model(page, full_workspace):
    from avsep.evaluation.results import read_results

    rows = [read_results(full_workspace.evaluation(m) / "results.parquet") for m in LEVELS]
    speakers = sorted({row.speaker for row in rows[0]})
    assert len(speakers) == 4
    for speaker in speakers:
        cells = page.words.split("By wanted speaker")[1].split(speaker)[1].split(" demo-s")[0]
        for of_model in rows:
            mine = [r for r in of_model if r.speaker == speaker and r.condition == "own"]
            worse = 100 * sum(r.si_snri < 0 for r in mine) / len(mine)
            mean = sum(r.si_snri for r in mine) / len(mine)
            assert f"{number(mean, 2)} {worse:.0f} % worse" in cells


def test_the_page_says_how_each_model_was_trained(page):
    table = page.words.split("Setting Lip encoder Dolphin VoViT stage 1 VoViT")[1]
    for heading, text in (
        ("Size", "demo"),
        ("Parameters", "1.22 M"),
        ("Items at once", "12 of 2 s, 2 processes"),
        ("Optimiser", "adam, cosine from 0.003, warm-up 20, clipped at 5, averaged with 0.98"),
        ("Changes to items", "crop, flip 0.5"),
        ("Further settings", "paired"),
        ("Seed", "4711"),
        ("Number format", "fp32"),
        ("Machine", "Some CPU, 2 cores"),
    ):
        assert f"{heading} {' '.join([text] * 4)}" in table
    assert f"Steps 150, best at 950 {' '.join(['1,050, best at 950'] * 3)}" in table
    assert "Training time 2 min, 0.75 s per step 13 min, 0.75 s per step" in table


@pytest.mark.slow
def test_a_project_without_times_cards_or_a_lip_encoder_has_no_empty_rows(tmp_path):
    workspace = Workspace(tmp_path)
    make_run(workspace, "dolphin")
    for path in (workspace.work("train") / "dolphin").iterdir():
        path.unlink()
    words = Page(render(workspace)).words
    assert "Seed 4711" in words
    assert "Training time" not in words
    assert "Lip encoder" not in words
    write_json(workspace.run("dolphin") / "card.json", {"training": None, "metrics": 3})
    assert "Setting Dolphin" in Page(render(workspace)).words


def test_no_table_has_a_single_column_of_figures(page):
    """A table with a heading per row and one figure each stretched over the whole page."""
    counts, inside = [], False
    for tag, _ in page.tags:
        if tag in ("thead", "tbody"):
            inside = tag == "thead"
            counts += [0] if inside else []
        elif tag == "th" and inside:
            counts[-1] += 1
    assert counts
    assert min(counts) >= 3


def test_published_figures_are_marked_as_other_data(page):
    words = page.words
    assert "Other data, other mixtures, full-size models." in words
    before, after = (
        words.index("Published figures Other data"),
        words.index("Does it use the video? The"),
    )
    for figure in ("16.8", "18.8", "14.6", "3.29"):
        assert figure in words[before:after]


@pytest.mark.slow
def test_the_stage_publishes_one_small_file_that_is_always_the_same(html, full_workspace):
    from tests.support.stage_run import run_stage

    for _ in range(2):  # the ledger knows of the first when the second runs
        found = run_stage("report", full_workspace, config=ReportConfig(title="Results"))
        assert [p.name for p in full_workspace.report.iterdir()] == ["index.html"]
        assert (full_workspace.report / "index.html").read_text("utf-8") == html
    assert found.counts.done == 1
    assert found.facts["MB"] < 5


def test_a_page_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("avsep.reporting.page.render_page", lambda *_, **__: "x" * 200_000)
    config, workspace = ReportConfig(max_size_mb=0.1), Workspace(tmp_path)
    with pytest.raises(CheckError, match=r"report\.max_size_mb"):
        report.work(config, workspace, report.plan(config, workspace)[0], lambda _: None)


def test_an_empty_project_gives_a_page_that_says_what_is_missing(tmp_path):
    page = Page(render(Workspace(tmp_path)))
    assert "No model has been evaluated yet" in page.words
    assert "avsep run evaluate --model vovit-s1" in page.words
    assert "No training log of Dolphin" in page.words
    assert "There is no data yet." in page.words
    assert "The clean stage has not run yet." in page.words
    assert not page.all("audio")


@pytest.mark.slow
def test_one_missing_model_does_not_hide_the_others(tmp_path):
    workspace = Workspace(tmp_path)
    make_evaluation(workspace, "dolphin")
    page = Page(render(workspace))
    assert "not evaluated yet; run `avsep run evaluate --model vovit`" in page.words
    assert len(page.all("audio")) == 2 * (1 + 2 * (1 + 3))
    metrics = json.loads((workspace.evaluation("dolphin") / "metrics_full.json").read_text())
    assert number(metrics["overall"]["own"]["si_snri"]["mean"], 2) in page.words


@pytest.mark.slow
def test_hostile_names_are_escaped(tmp_path):
    hostile = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    workspace = Workspace(tmp_path)
    make_evaluation(workspace, "dolphin", speaker=hostile)
    make_run(workspace, "dolphin")
    make_data(workspace, reason=hostile)
    log = workspace.run("dolphin") / "log.csv"
    write_text(log, log.read_text().replace("val_si_sdri", "val_<script>alert(3)</script>"))
    html = render(workspace, title=hostile)
    assert hostile not in html
    page = Page(html)
    assert hostile in page.words
    assert len(page.all("script")) == 1
    assert all("onerror" not in attributes for _, attributes in page.tags)
    for attributes in page.all("img"):
        kind, _, content = attributes["src"].partition(";base64,")
        if kind == "data:image/svg+xml":
            assert b"<script" not in base64.b64decode(content)


@pytest.mark.slow
def test_clips_that_must_not_be_redistributed_are_marked(tmp_path, html):
    workspace = Workspace(tmp_path)
    make_evaluation(workspace, "dolphin", redistributable=False)
    assert "Do not redistribute" in render(workspace)
    assert "Do not redistribute" not in html


def test_damaged_inputs_are_named(tmp_path):
    workspace = Workspace(tmp_path)
    make_evaluation(workspace, "vovit")
    example = workspace.evaluation("vovit") / "examples" / "test-00000"
    write_text(example / "mixture.wav", "no sound")
    with pytest.raises(CheckError, match=r"mixture\.wav is damaged"):
        render(workspace)
    write_text(workspace.evaluation("vovit") / "metrics_full.json", "{")
    with pytest.raises(CheckError, match=r"metrics_full\.json is damaged"):
        render(workspace)
    write_text(tmp_path / "log.csv", "step,loss\n1,abc\n")
    with pytest.raises(CheckError, match="loss is 'abc'"):
        read_log(tmp_path / "log.csv")


@pytest.mark.slow
def test_the_page_says_why_a_cost_could_not_be_measured(tmp_path):
    workspace = Workspace(tmp_path)
    make_evaluation(workspace, "vovit")
    write_text(workspace.evaluation("vovit") / "cost.json", '{"problem": "its process was killed"}')
    model = gather_model(workspace, "vovit")
    assert model.cost is None
    assert model.cost_problem == "its process was killed"
    assert "its process was killed" in Page(render(workspace)).words


def test_the_terminal_table_has_a_row_for_each_model(full_workspace, tmp_path):
    from rich.console import Console

    def text(workspace: Workspace) -> str:
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(summary_table(workspace))
        return console.export_text()

    full = text(full_workspace)
    assert "14 mixtures, 4 speakers" in full
    # On 80 columns no word is broken.
    assert {"unprocessed", "mixture", "Dolphin", "VoViT", "SI-SNRi", "SIR"} <= set(full.split())
    metrics = json.loads((full_workspace.evaluation("vovit") / "metrics_full.json").read_text())
    assert number(metrics["overall"]["own"]["si_snri"]["mean"], 2) in full
    assert number(metrics["overall"]["other"]["si_snri"]["mean"], 2) in full
    right = 100 * metrics["faces"]["both_right"]["mean"]
    assert f"both faces right in {right:.0f} %" in " ".join(full.split())
    assert "not evaluated yet" in text(Workspace(tmp_path))
    said = CliRunner().invoke(app, ["results", "--root", str(full_workspace.root)])
    assert "14 mixtures, 4 speakers" in said.stdout


def test_figures_show_intervals_missing_rows_and_dashes():
    figure = {"mean": -0.001, "low": -1.5, "high": 1.25, "rows": 8, "excluded": 2}
    shown = figure_text(figure, 2)
    assert (shown.text, shown.interval) == ("0.00", "−1.50 to 1.25")
    assert shown.note == "without 2 of 10"
    assert figure_text(None, 2).text == DASH
    assert number(float("nan"), 2) == DASH


def test_invalid_settings_are_refused():
    for values in ({"models": ()}, {"max_examples": -1}, {"max_size_mb": 0.0}):
        with pytest.raises(ValueError, match=next(iter(values))):
            ReportConfig(**values)


@pytest.mark.slow
def test_charts_of_many_results_stay_small():
    """50,000 results per model made a page of more than its limit, whatever the examples."""
    from types import SimpleNamespace

    from avsep.evaluation.conditions import Condition
    from avsep.reporting import charts

    def chart(count: int) -> int:
        rng = np.random.default_rng(0)
        values = rng.normal(8, 4, (count, 2))
        rows = [
            SimpleNamespace(condition=Condition.OWN, si_snri=float(a), si_snr_mixture=float(b))
            for a, b in values
        ]
        model = SimpleNamespace(rows=rows, title="toy")
        ((_, scatter),) = charts.scatter_plots([model])
        return len(scatter) + len(charts.box_plot([model]))

    assert chart(charts.MAX_POINTS * 10) < chart(charts.MAX_POINTS) + 300_000
    assert chart(charts.MAX_POINTS * 10) < 1_000_000


def test_published_figures_are_grouped_by_protocol_and_causality():
    from avsep.reporting.literature import SCORES, league

    groups = league()
    assert sum(len(scores) for _, scores in groups) == len(SCORES)
    for heading, scores in groups:
        assert {(s.protocol, s.causal) for s in scores} == {(scores[0].protocol, scores[0].causal)}
        assert heading.startswith(scores[0].protocol)
    assert len({heading for heading, _ in groups}) == len(groups)


def test_a_model_says_in_what_format_and_on_what_machine_it_was_trained(tmp_path):
    space = Workspace(tmp_path)
    card = {"precision": "fp32", "machine": "A CPU, 2 cores", "device": "cpu"}
    for content, told in (
        (card, "Trained in fp32 on A CPU, 2 cores."),
        (card | {"device": "A GPU"}, "Trained in fp32 on A GPU, A CPU, 2 cores."),
        ({"precision": "fp32"}, ""),  # of an older version
    ):
        write_json(space.run("dolphin") / "card.json", content)
        assert gather_training(space, "dolphin").trained_on == told
    write_json(space.run("dolphin") / "card.json", card)
    page = render_page(space, models=["dolphin"], title="", max_examples=0, ledger={})
    assert "Trained in fp32 on A CPU, 2 cores." in page
