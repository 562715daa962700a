"""The evaluate stage end to end, on real shards and recipes, with a model that uses the video."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from avsep.errors import CheckError, Reason, UsageError
from avsep.evaluation import cost, scoring
from avsep.evaluation.items import build_item
from avsep.evaluation.problems import Problem
from avsep.evaluation.results import read_results
from avsep.evaluation.summary import FACES, HEADLINE
from avsep.evaluation.unprocessed import read_unprocessed, write_unprocessed
from avsep.mixing.recipes import read_recipes, write_recipes
from avsep.models import checkpoint
from avsep.shards.reader import ShardStore
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.stages import evaluate
from pipeline.stages.evaluate import EvaluateConfig
from tests.support.band_separator import load_for_stage
from tests.support.evaluation_world import make_workspace
from tests.support.stage_run import run_stage

pytestmark = pytest.mark.slow

FAST = EvaluateConfig(
    model="vovit",
    perceptual=("stoi",),
    bootstrap_samples=100,
    example_count=2,
    mixtures_per_batch=3,
    workers=0,
    cost=False,
    batch=4,
)
LIGHT = replace(FAST, perceptual=(), sdr=False)  # those take most of the time
DETERMINISTIC = ("results.parquet", "metrics.json", "metrics_full.json", "plots/si_snri.csv")


@pytest.fixture(autouse=True)
def band_separator(monkeypatch):
    monkeypatch.setattr(checkpoint, "load", load_for_stage)
    evaluate._load_model.cache_clear()


def run_here(job, *, timeout_s):
    """A child process takes seconds and has its own test; the job must be picklable."""
    assert timeout_s > 0
    return pickle.loads(pickle.dumps(job))()


@pytest.fixture(scope="module")
def published(workspace):
    """The published evaluation, with its cost."""
    patch = pytest.MonkeyPatch()
    patch.setattr(checkpoint, "load", load_for_stage)
    patch.setattr(cost, "in_child", run_here)
    config = replace(FAST, cost=True, cost_runs=2, cost_audio_s=0.4, threads=1)
    report = run_stage("evaluate", workspace, config=config)
    patch.undo()
    return workspace.evaluation("vovit"), report


def content(directory):
    return {name: (directory / name).read_bytes() for name in DETERMINISTIC}


def test_every_voice_of_every_mixture_is_evaluated_under_every_condition(published):
    directory, report = published
    rows = read_results(directory / "results.parquet")
    assert len(rows) == 7 * 2 * 3
    assert report.counts.done == 7 + 1
    by_condition = {
        name: [row.si_snri for row in rows if row.condition == name]
        for name in ("own", "other", "none")
    }
    assert min(by_condition["own"]) > 10
    assert max(by_condition["other"]) < -10
    assert np.abs(by_condition["none"]).max() < 1e-3
    assert report.facts["SI-SNRi"].endswith(" dB")


def test_dvc_shows_six_numbers_per_model(published):
    metrics = json.loads((published[0] / "metrics.json").read_text())
    assert all(isinstance(value, float) for value in metrics.values())
    assert set(metrics) <= {name for name, _, _ in HEADLINE} | set(FACES)
    assert len(HEADLINE) == 6


def test_metrics_separate_voices_that_are_not_in_training(published):
    metrics = json.loads((published[0] / "metrics_full.json").read_text())
    assert set(metrics["by_group"]["heard"]) == {"voice-0"}
    assert set(metrics["by_group"]["unheard"]) == {"voice-1", "voice-2"}
    assert metrics["mixtures"] == 7
    assert (
        metrics["overall"]["own"]["stoi"]["mean"]
        > metrics["overall"]["own"]["stoi_mixture"]["mean"]
    )
    assert "stoi" not in metrics["overall"]["none"]
    assert "pesq" not in metrics["overall"]["own"]


def test_a_damaged_sound_does_not_depend_on_the_batch_and_leaves_the_scores_of_the_list(tmp_path):
    """Babble takes voices of the whole split, not of the batch."""
    here = make_workspace(tmp_path)
    config = replace(LIGHT, conditions=("own", "babble@0.5", "noise@0.5"), example_count=0)
    found = []
    for size, names in ((3, config.conditions), (2, config.conditions), (3, ("own",))):
        run_stage(
            "evaluate", here, config=replace(config, mixtures_per_batch=size, conditions=names)
        )
        rows = read_results(here.evaluation("vovit") / "results.parquet")
        found.append({(r.mixture_id, r.target, r.condition): r.si_snr_mixture for r in rows})
    first, second, listed = found
    assert first == pytest.approx(second)
    assert len(first) == 3 * len(listed) == 3 * 14
    assert {key: first[key] for key in listed} == pytest.approx(listed)
    for (mixture, target, condition), value in first.items():
        if (
            condition != "own"
        ):  # the voices are alike in level, so another half of it costs 1 to 3 dB
            assert -4 < value - listed[mixture, target, "own"] < -0.5


def test_models_of_another_project_are_tested_on_the_mixtures_of_this_one(tmp_path):
    here = make_workspace(tmp_path)
    away = tmp_path / "other project" / "runs"
    away.parent.mkdir()
    here.run("vovit").parent.rename(away)
    config = replace(FAST, max_mixtures=1, perceptual=(), example_count=0)
    with pytest.raises(CheckError):
        run_stage("evaluate", here, config=config)
    for runs in ("other project/runs", str(away)):
        report = run_stage("evaluate", here, config=replace(config, runs=runs))
        assert report.counts.done == 1


def test_examples_and_cost_are_published_with_the_figures(published):
    directory, _ = published
    names = sorted(path.name for path in (directory / "examples").iterdir())
    assert names == ["test-001", "test-005"]
    assert (directory / "examples" / "test-001" / "estimate1-none.wav").is_file()
    figures = json.loads((directory / "cost.json").read_text())
    assert figures["parameters"] == 41
    assert figures["peak_memory_mb"] >= figures["model_memory_mb"] > 0


def test_a_killed_run_finishes_the_rest_and_gives_the_same_bytes(published, tmp_path, monkeypatch):
    other = make_workspace(tmp_path)
    planned = evaluate.plan(FAST, other)
    assert [len(batch.items) for batch in planned] == [3, 3, 1]
    ended = evaluate.work(FAST, other, planned[1], lambda _: None)
    Ledger(other.ledger).record("evaluate", ended)
    # killed while the next batch was writing its rows
    (other.work("evaluate") / "vovit" / "vovit-0000.parquet").write_bytes(b"half")
    worked = []
    original = evaluate._evaluate
    monkeypatch.setattr(
        evaluate,
        "_evaluate",
        lambda config, ws, batch, progress: (
            worked.append(batch.name) or original(config, ws, batch, progress)
        ),
    )
    run_stage("evaluate", other, config=FAST)
    assert worked == ["vovit-0000", "vovit-0002"]
    assert content(other.evaluation("vovit")) == content(published[0])
    worked.clear()
    run_stage("evaluate", other, config=FAST)
    assert worked == []


@pytest.fixture
def scored(monkeypatch):
    """The names of the pairs that were scored since the fixture began."""
    names = []
    original = scoring.score_pair
    monkeypatch.setattr(scoring, "score_pair", lambda p: names.append(p.name) or original(p))
    return names


def with_second_model(workspace, folder):
    """A copy of a project, in which `dolphin` is the same model as `vovit`."""
    copy = Workspace(shutil.copytree(workspace.root, folder / "copy"))
    shutil.copytree(copy.run("vovit"), copy.run("dolphin"))
    return copy


def mixtures_in(names):
    return sum(condition == scoring.MIXTURE for _, _, condition in names)


def test_the_second_model_reuses_the_scores_of_the_unprocessed_mixtures(
    workspace, published, tmp_path, scored
):
    copy = with_second_model(workspace, tmp_path)
    run_stage("evaluate", copy, config=replace(FAST, model="dolphin"))
    assert mixtures_in(scored) == 0
    assert len(scored) == 7 * 2 * 3
    assert content(copy.evaluation("dolphin")) == content(published[0])


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A project after an evaluation."""
    patch = pytest.MonkeyPatch()
    patch.setattr(checkpoint, "load", load_for_stage)
    workspace = make_workspace(tmp_path_factory.mktemp("evaluated"))
    run_stage("evaluate", workspace, config=LIGHT)
    patch.undo()
    return workspace


@pytest.mark.parametrize("damage", ["{", "[]", "no scores", "no values", "other mixtures"])
def test_unusable_scores_of_mixtures_are_computed_again(evaluated, tmp_path, scored, damage):
    workspace = with_second_model(evaluated, tmp_path)
    paths = sorted((workspace.work("evaluate") / "unprocessed").iterdir())
    assert [path.name for path in paths] == ["0000.json", "0001.json", "0002.json"]
    for path in paths:
        kept = json.loads(path.read_text())
        if damage == "no scores":
            del kept["scores"]
        elif damage == "no values":
            kept["scores"] = [row | {"values": {}} for row in kept["scores"]]
        elif damage == "other mixtures":  # as if they had been drawn anew
            wrong = [row | {"values": dict.fromkeys(row["values"], 9.0)} for row in kept["scores"]]
            kept = {"settings": "of other recipes", "scores": wrong}
        path.write_text(damage if damage in ("{", "[]") else json.dumps(kept))
    scored.clear()
    run_stage("evaluate", workspace, config=replace(LIGHT, model="dolphin"))
    assert mixtures_in(scored) == 7 * 2
    assert content(workspace.evaluation("dolphin")) == content(workspace.evaluation("vovit"))


def test_scores_that_another_run_may_still_compute_are_not_kept(tmp_path):
    path, nan = tmp_path / "scores.json", float("nan")
    scores = {
        ("a", 0): ({"stoi": 0.1 + 0.2, "pesq": nan}, {"pesq": Problem.NO_UTTERANCES}),
        ("a", 1): ({"stoi": 0.5, "pesq": nan}, {"pesq": Problem.PACKAGE_MISSING}),
        ("b", 0): ({"stoi": nan, "pesq": nan}, dict.fromkeys(("stoi", "pesq"), Problem.TIMED_OUT)),
    }
    write_unprocessed(path, "settings", scores)
    values, problems = read_unprocessed(path, "settings").pop(("a", 0))
    assert values["stoi"] == 0.1 + 0.2
    assert math.isnan(values["pesq"])
    assert problems == {"pesq": Problem.NO_UTTERANCES}
    assert list(read_unprocessed(path, "settings")) == [("a", 0)]
    assert read_unprocessed(path, "others") == {}
    assert read_unprocessed(tmp_path / "none.json", "settings") == {}


def test_changed_weights_or_settings_are_evaluated_again(workspace):
    before = evaluate.plan(FAST, workspace)
    assert evaluate.plan(replace(FAST, workers=3, timeout_s=5.0), workspace) == before
    assert evaluate.plan(replace(FAST, sdr=False), workspace)[0].settings != before[0].settings
    card = workspace.run("vovit") / "card.json"
    original = card.read_text()
    card.write_text(original.replace('"sha256": "0"', '"sha256": "1"'))
    changed = evaluate.plan(FAST, workspace)
    card.write_text(original)
    assert changed[0].settings != before[0].settings


def test_a_mixture_whose_sample_is_missing_fails_alone_with_its_reason(tmp_path):
    workspace = make_workspace(tmp_path)
    path = workspace.mixtures / "test.jsonl"
    recipes = read_recipes(path)
    gone = replace(recipes[0].sources[0], key="nobody-t0", speaker="nobody")
    stale = replace(recipes[1].sources[0], sha256="f" * 64)
    late = replace(recipes[2].sources[0], start=640 * 20)
    for index, source in enumerate((gone, stale, late)):
        recipes[index] = replace(recipes[index], sources=(source, recipes[index].sources[1]))
    write_recipes(path, recipes)
    report = run_stage("evaluate", workspace, config=replace(LIGHT, max_failed_share=0.5))
    assert report.counts.done == 4
    assert report.counts.failed == {
        "file_missing": 1,
        "file_changed": 1,
        "unreadable_file": 1,
    }
    found = Ledger(workspace.ledger).outcomes("evaluate")
    assert found["vovit:test-000"].reason is Reason.FILE_MISSING
    assert "nobody-t0" in found["vovit:test-000"].message
    with pytest.raises(CheckError, match="3 of 7 items failed"):
        run_stage("evaluate", workspace, config=LIGHT)


def test_video_and_sound_of_an_item_come_from_the_same_moment(workspace):
    store = ShardStore(workspace.shards)
    recipe = read_recipes(workspace.mixtures / "test.jsonl")[3]
    item = build_item(store, recipe)
    for source, sound, cues in zip(recipe.sources, item.sources, item.cues, strict=True):
        first = source.start // 640
        assert np.array_equal(cues.lips, store.lips(source.key)[first : first + 25])
        stored = store.audio(source.key)[source.start : source.start + 16_000]
        assert np.corrcoef(sound, stored)[0, 1] > 0.9999
    assert np.array_equal(item.mixture, item.sources.sum(0))


def test_a_cost_that_takes_too_long_is_reported_and_does_no_harm(tmp_path, monkeypatch):
    workspace = make_workspace(tmp_path)

    def too_slow(*_args, **_kwargs):
        raise TimeoutError

    monkeypatch.setattr(cost, "in_child", too_slow)
    config = replace(LIGHT, cost=True, max_failed_share=0.2)
    report = run_stage("evaluate", workspace, config=config)
    assert report.counts.failed == {"timed_out": 1}
    found = json.loads((workspace.evaluation("vovit") / "cost.json").read_text())
    assert found == {"problem": "took more than 600 s"}


def test_missing_inputs_and_invalid_settings_are_named(tmp_path, workspace):
    with pytest.raises(UsageError, match="needs a model"):
        evaluate.plan(EvaluateConfig(), workspace)
    with pytest.raises(CheckError, match="holds no model"):
        evaluate.plan(replace(FAST, model="dolphin"), workspace)
    with pytest.raises(CheckError, match=r"test\.jsonl is missing"):
        evaluate.plan(FAST, Workspace(tmp_path))
    for values in ({"batch": -1}, {"model": "tasnet"}, {"timeout_s": 0}, {"conditions": ()}):
        with pytest.raises(ValueError, match=next(iter(values))):
            EvaluateConfig(**values)


def test_a_part_of_the_list_is_spread_evenly_over_it(workspace):
    planned = evaluate.plan(replace(FAST, max_mixtures=2), workspace)
    assert planned[0].items == ("vovit:test-001", "vovit:test-005")
