"""Rows, comparisons, summaries and examples of a model whose behaviour is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from avsep.evaluation.compare import paired_difference
from avsep.evaluation.conditions import Condition
from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.examples import (
    at_level_of,
    lip_strip,
    spread,
    to_int16,
    write_example,
)
from avsep.evaluation.problems import Problem, unpack
from avsep.evaluation.publish import publish
from avsep.evaluation.results import ResultRow, pair_of, read_results, write_results
from avsep.evaluation.scoring import score
from avsep.evaluation.separate import estimate_keys, separate
from avsep.evaluation.summary import summarise
from avsep.media.pcm import encode_wav
from tests.support.band_separator import BandSeparator

FAST = EvaluateConfig(sdr=True, perceptual=(), workers=0)


@pytest.fixture(scope="module")
def estimates(items):
    keys = estimate_keys(items, tuple(Condition))
    return dict(separate(BandSeparator().eval(), items, keys, batch=8))


@pytest.fixture(scope="module")
def rows(items, estimates):
    return score(items, estimates, FAST)


def of(rows, condition):
    return [row for row in rows if row.condition == condition]


@pytest.mark.slow
def test_a_model_that_uses_the_video_gains_with_the_right_one_and_loses_with_the_other(rows):
    assert len(rows) == 30
    assert all(row.si_snri > 15 for row in of(rows, "own"))
    assert all(row.si_snri < -15 for row in of(rows, "other"))
    assert all(row.si_snri == pytest.approx(0, abs=1e-3) for row in of(rows, "none"))
    for row in rows:
        assert row.si_snri == pytest.approx(row.si_snr - row.si_snr_mixture)
        assert row.sdri == pytest.approx(row.sdr - row.sdr_mixture)
        assert row.problems == ""


def test_metrics_that_were_not_requested_are_nan_without_a_problem(rows):
    assert all(math.isnan(row.pesq) and not row.lacks("pesq") for row in rows)


def test_pesq_and_stoi_are_computed_for_the_given_conditions_and_the_mixture(items, estimates):
    some = {key: e for key, e in estimates.items() if key.item == 0}
    config = EvaluateConfig(sdr=False, perceptual=("stoi",), workers=0)
    ticks: list[int] = []
    found = score(items[:1], some, config, ticks.append)
    assert sum(ticks) == 1
    for row in of(found, "own"):
        assert row.stoi > row.stoi_mixture > 0
    assert all(math.isnan(row.stoi) for row in of(found, "none"))
    assert all(math.isnan(row.sdr) for row in found)


def test_a_silent_model_gets_no_score_but_a_reason(items, estimates):
    silent = {key: np.zeros_like(e) for key, e in estimates.items() if key.item == 0}
    found = score(items[:1], silent, FAST)
    for row in found:
        assert math.isnan(row.si_snri)
        assert unpack(row.problems)["si_snri"] is Problem.SILENT_ESTIMATE
    figures = summarise(found, heard_groups=(), seed=0, samples=50)
    assert figures["overall"]["own"] == {
        metric: figure
        for metric, figure in figures["overall"]["own"].items()
        if metric.endswith("_mixture")
    }
    assert figures["problems"]["own"]["si_snri"] == {"silent_estimate": 2}


def test_rows_survive_the_table_and_the_same_rows_give_the_same_bytes(rows, tmp_path):
    write_results(tmp_path / "a.parquet", rows)
    write_results(tmp_path / "b.parquet", rows[::-1])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    back = read_results(tmp_path / "a.parquet")
    assert repr(back) == repr(sorted(rows, key=lambda row: row.order))


def test_paired_difference_finds_a_small_gain_that_separate_intervals_hide():
    generator = np.random.default_rng(0)
    base = 10 * generator.standard_normal(40)

    def results(shift):
        return [
            ResultRow(
                **{"mixture_id": f"m{i}", "target": 0, "condition": "own", "key": f"u{i // 2}"},
                **dict.fromkeys(("speaker", "group", "gender", "other_key", "other_speaker"), "x"),
                other_gender="f",
                pair="",
                si_snri=float(base[i] + shift + 0.1 * generator.standard_normal()),
            )
            for i in range(40)
        ]

    better, worse = results(0.5), results(0.0)
    found = paired_difference(better, worse[1:], "si_snri", generator=generator, samples=500)
    assert found.difference.low > 0.3
    assert found.difference.high < 0.7
    assert found.unmatched == 1
    assert found.better_share > 0.95
    again = paired_difference(worse[1:], better, "si_snri", generator=generator, samples=500)
    assert again.difference.mean == pytest.approx(-found.difference.mean)


def test_summary_splits_by_condition_pair_and_unheard_voice(rows):
    figures = summarise(rows, heard_groups={"heard"}, seed=0, samples=100)
    assert (figures["mixtures"], figures["rows"], figures["speakers"]) == (5, 30, 4)
    assert set(figures["overall"]) == {"own", "other", "none"}
    own = figures["overall"]["own"]["si_snri"]
    assert own["mean"] == pytest.approx(np.mean([r.si_snri for r in of(rows, "own")]))
    assert own["low"] < own["mean"] < own["high"]
    assert own["utterances"] == 4
    assert set(figures["by_group"]["unheard"]) == {"unheard"}
    assert set(figures["by_group"]["heard"]) == {"heard"}
    assert figures["by_group"]["all_unheard"]["si_snri"]["rows"] == sum(
        row.group == "unheard" for row in of(rows, "own")
    )
    assert set(figures["by_pair"]) == {"fm"}
    assert figures["video"]["own_minus_other"]["si_snri"]["low"] > 20
    assert figures["video"]["own_minus_other"]["better_share"] == 1.0
    assert figures == summarise(rows, heard_groups={"heard"}, seed=0, samples=100)


def test_published_files_are_the_same_each_time_and_hold_no_nan(rows, tmp_path):
    for name in ("a", "b"):
        publish(tmp_path / name, rows, heard_groups={"heard"}, seed=0, samples=50)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert [str(f) for f in files] == [
        *("metrics.json", "metrics_full.json", "plots/si_snri.csv", "results.parquet"),
    ]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    texts = {f.name: f.read_text() for f in (tmp_path / "a").glob("*.json")}
    figures = {name: json.loads(text, parse_constant=pytest.fail) for name, text in texts.items()}
    full, small = figures["metrics_full.json"], figures["metrics.json"]
    assert full["overall"]["own"]["si_snri"]["mean"] > 15
    # PESQ and STOI were not measured here: no number stands for them.
    assert set(small) == {
        *("si_snri", "sdri", "si_snri_other_video", "si_snri_no_video"),
        *("both_right", "overlap", "worse"),
    }
    assert small["si_snri"] == pytest.approx(full["overall"]["own"]["si_snri"]["mean"], abs=1e-4)
    assert small["si_snri_other_video"] < -15
    lines = (tmp_path / "a" / "plots" / "si_snri.csv").read_text().splitlines()
    assert len(lines) == 31
    assert lines[0].startswith("mixture_id,target,condition")


def test_examples_are_spread_over_the_list_before_results_are_known():
    assert spread(list(range(100)), 4) == [12, 37, 62, 87]
    assert spread([1, 2], 5) == [1, 2]
    assert spread([1, 2], 0) == []
    assert len(set(spread(list(range(7)), 6))) == 6


def test_an_example_holds_playable_sounds_and_lips(items, estimates, rows, tmp_path):
    import wave

    mine = {key: e for key, e in estimates.items() if key.item == 1}
    my_rows = [row for row in rows if row.mixture_id == items[1].recipe.mixture_id]
    metas = [{"licence": "CC0-1.0", "redistributable": True, "secret": "no"}] * 2
    write_example(tmp_path, items[1], mine, my_rows, metas)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"mixture.wav", "target0.wav", "target1.wav", "lips0.npy", "example.json"} <= names
    assert "estimate1-other.wav" in names
    with wave.open(str(tmp_path / "estimate0-own.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
        assert sound.getnframes() == 16000
    strip = np.load(tmp_path / "lips0.npy", allow_pickle=False)
    assert strip.shape == (96, 960)
    card = json.loads((tmp_path / "example.json").read_text())
    assert card["voices"][0]["licence"] == "CC0-1.0"
    assert "secret" not in card["voices"][0]
    assert card["voices"][1]["scores"]["own"]["si_snri"] > 15


def test_loud_and_quiet_estimates_are_played_at_the_level_of_the_target():
    target = 0.1 * np.random.default_rng(0).standard_normal(16000)
    for gain in (1e-3, 50.0):
        levelled = at_level_of(gain * target, target)
        np.testing.assert_allclose(levelled, target, atol=1e-9)
    samples, factor = to_int16(20 * target)
    assert factor < 1
    assert abs(samples).max() == round(0.99 * 32767)
    assert to_int16(np.array([np.nan, 0.5]))[0].tolist() == [0, 16384]
    assert len(encode_wav(samples)) == 44 + 32000


def test_lip_strip_and_pair_names():
    assert lip_strip(np.zeros((50, 96, 96), np.uint8)).shape == (96, 960)
    assert lip_strip(np.zeros((3, 96, 96), np.uint8)).shape == (96, 288)
    assert pair_of("m", "f") == pair_of("f", "m") == "fm"
    assert pair_of("", "m") == ""


def test_gradients_are_not_computed(estimates):
    assert all(isinstance(e, np.ndarray) for e in estimates.values())
    assert torch.is_grad_enabled()
