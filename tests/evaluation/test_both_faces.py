"""Each face of a mixture is asked in turn: who gets the right voice, and who the same one."""

import numpy as np
import pytest

from avsep.evaluation.both_faces import both_right, margins_db, overlaps, worse
from avsep.evaluation.problems import Problem, pack
from avsep.evaluation.results import ResultRow
from avsep.evaluation.summary import headline, summarise

RNG = np.random.default_rng(5)
VOICES = RNG.standard_normal((3, 8000)).astype(np.float32)


def rows_of(estimates, sources, mixture_id="m", **fields) -> list[ResultRow]:
    pairs = zip(margins_db(estimates, sources), overlaps(estimates), strict=True)
    return [row(mixture_id, i, margin_db=m, overlap=o, **fields) for i, (m, o) in enumerate(pairs)]


def row(mixture_id, target, **fields) -> ResultRow:
    values = {
        "condition": "own", "key": f"{mixture_id}-{target}", "speaker": "a", "group": "a",
        "gender": "", "other_key": "", "other_speaker": "b", "other_gender": "", "pair": "",
    }  # fmt: skip
    return ResultRow(mixture_id=mixture_id, target=target, **values, **fields)


def test_right_voices_are_right_at_any_level_and_offset():
    for count in (2, 3):
        sources = VOICES[:count]
        estimates = 0.001 * sources + 0.3 + 0.0002 * RNG.standard_normal(sources.shape)
        found = rows_of(estimates.astype(np.float32), sources)
        assert both_right(found) == [1.0] * count
        assert all(one.overlap < 0.1 for one in found)


def test_one_voice_for_both_faces_is_not_right_and_overlaps_wholly():
    same = np.stack([VOICES[0], -0.5 * VOICES[0]])
    found = rows_of(same, VOICES[:2])
    assert both_right(found) == [0.0, 0.0]
    assert [one.overlap for one in found] == pytest.approx([1, 1])


def test_swapped_voices_do_not_overlap_and_are_not_right():
    found = rows_of(VOICES[[1, 0]], VOICES[:2])
    assert both_right(found) == [0.0, 0.0]
    assert all(one.margin_db < -20 for one in found)
    assert all(one.overlap < 0.1 for one in found)


def test_three_decibels_decide():
    first, second = VOICES[:2]
    # The margin grows with the share of the own voice; 3 dB lies between these two.
    margins = [
        margins_db(np.stack([first + leak * second, second]), VOICES[:2])[0] for leak in (0.5, 0.99)
    ]
    assert margins[0] > 3 > margins[1] > -1


@pytest.mark.parametrize("bad", [0.0, np.nan, 0.25])
def test_a_silent_or_broken_estimate_is_not_right(bad):
    estimates = np.stack([VOICES[0], np.full(8000, bad, np.float32)])
    found = rows_of(estimates, VOICES[:2])
    assert both_right(found) == [0.0, 0.0]
    assert np.isnan(found[1].margin_db)


def test_a_single_voice_has_no_such_figure():
    found = rows_of(VOICES[:1], VOICES[:1])
    assert np.isnan(both_right(found)[0])
    assert np.isnan(found[0].overlap)


def test_a_silent_estimate_is_worse_than_the_mixture_and_a_silent_target_is_not_known():
    found = worse([
        row("m", 0, si_snri=-0.1), row("m", 1, si_snri=0.1),
        row("n", 0, problems=pack({"si_snr": Problem.SILENT_ESTIMATE})),
        row("n", 1, problems=pack({"si_snr": Problem.SILENT_TARGET})),
    ])  # fmt: skip
    assert found[:3] == [1.0, 0.0, 1.0]
    assert np.isnan(found[3])


def test_the_shares_are_in_the_summary_and_the_headline():
    right = rows_of(VOICES[:2], VOICES[:2], "m1", si_snri=5.0)
    same = rows_of(np.stack([VOICES[0], VOICES[0]]), VOICES[:2], "m2", si_snri=-2.0)
    rows = [*right, *same]
    figures = summarise(rows, heard_groups=(), seed=0, samples=50)
    assert figures["faces"]["both_right"]["mean"] == 0.5
    found = headline(figures)
    assert found["both_right"] == 0.5
    assert found["worse"] == 0.5
    assert found["overlap"] == pytest.approx(0.5, abs=0.05)
