"""Charts of the page: enough points, labels that say what is drawn and cover nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from avsep.damage import DAMAGES
from avsep.evaluation.conditions import Condition
from avsep.evaluation.results import ResultRow
from avsep.files import write_text
from avsep.reporting.charts import box_plot, damage_curves, drop_bars, scatter_plots
from avsep.reporting.curves import training_curves
from avsep.reporting.gather import ModelResults
from avsep.reporting.scores import Score, histograms
from avsep.reporting.training import MAX_POINTS, Training, gather_trainings, read_losses
from tests.support.svg_text import boxes, collisions, svg

PATH = "{http://www.w3.org/2000/svg}path"


def make_model(name: str, *, scale: float = 4.0, shift: float = 0.0) -> ModelResults:
    draw = np.random.default_rng(0)
    names = ("mixture_id", "key", "speaker", "group", "gender", "other_key", "other_speaker")
    empty = dict.fromkeys((*names, "other_gender", "pair"), "x")
    rows = [
        ResultRow(**empty, target=0, condition=str(condition), si_snri=a + shift, si_snr_mixture=b)
        for condition in Condition
        for a, b in scale * draw.normal(size=(20, 2))
    ]
    curve = {"0.25": {"mean": 1.0}, "0.5": {"mean": -2.5}, "1": {"mean": -scale}}
    metrics = {
        "damage": dict.fromkeys(DAMAGES, curve),
        "overall": {"own": {"si_snri": {"mean": 3.0}}},
    }
    return ModelResults(name=name, rows=tuple(rows), metrics=metrics)


MODELS = [make_model(name) for name in ("dolphin", "vovit-s1", "vovit")]
MANY = [make_model(f"somebody else's model no. {n} $x^2$", scale=4 + 60 * n) for n in range(6)]
SHORT_LOG = {"step": [50.0, 100.0, 150.0], "train_loss": [3.0, 2.0, 1.0]}
LIPS = {name: [0.5, 0.4, 0.1] for name in ("val_recon", "val_commit", "val_distill")}
VOICES = {
    "val_si_sdr": [1.0, 2.0, 3.0],
    "val_si_sdri": [0.9, 1.9, 2.9],
    "val_wrong_si_sdri": [-9.0],
}
CLOSE = {
    "val_si_sdri": [-0.1272, -0.1273, -0.1271],
    "val_wrong_si_sdri": [-0.128, -0.1278, -0.1276],
}
ODD = {"step": [2.5e5, 1e6], "train_loss": [1e-9, 1e-7], "val_" + "long_" * 20: [1.0, 3e6]}


def trained(log, count: int = 150) -> Training:
    losses = np.random.default_rng(0).normal(size=count)
    return Training(title="x", command="", log=log, losses=(range(1, count + 1), losses))


def scores() -> dict[str, Score]:
    found = {f"score_{n}": Score() for n in range(7)}
    for n, score in enumerate(found.values()):
        score.kept.extend(np.random.default_rng(n).normal(0, 10.0 ** (2 * n - 4), 50))
    return found


CHARTS = {
    "boxes": lambda: box_plot(MODELS),
    "boxes of many": lambda: box_plot(MANY),
    "scatter": lambda: scatter_plots(MODELS)[1][1],
    "scatter of many": lambda: scatter_plots(MANY)[5][1],
    "damage": lambda: damage_curves(MODELS),
    "damage of many": lambda: damage_curves(MANY),
    "one reason": lambda: drop_bars([("no_face", 1)]),
    "reasons": lambda: drop_bars(
        [("no_face", 16), ("a_reason_that_someone_gives_" * 3, 3), ("too_short", 10**6)]
    ),
    "many reasons": lambda: drop_bars([(f"reason_{n}", 999 * n + 1) for n in range(30)]),
    "a separator": lambda: training_curves(trained(SHORT_LOG | VOICES)),
    "long numbers": lambda: training_curves(trained(SHORT_LOG | CLOSE)),
    "lips": lambda: training_curves(trained(SHORT_LOG | LIPS | {"val_codes_used": [9.0, 8.0]})),
    "odd curves": lambda: training_curves(Training(title="x", command="", log=ODD)),
    "histograms": lambda: histograms(scores()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_no_text_of_a_chart_covers_another_or_leaves_the_picture(name):
    chart = CHARTS[name]()
    assert len(boxes(chart)) >= 4
    assert collisions(chart) == []


@pytest.mark.slow
def test_the_check_of_collisions_sees_them():
    long = [replace(model, name="a" * 40) for model in MODELS]
    crowded = box_plot([*MANY, *MANY, *MANY, *MANY])
    assert collisions(crowded)
    assert not collisions(box_plot(long))


def test_scatter_plots_share_their_axes_and_have_a_legend():
    far = [make_model("dolphin"), make_model("vovit", shift=-30.0)]
    ticks = []
    for _, chart in scatter_plots(far):
        found = boxes(chart)
        assert {"own video", "other's video", "no video"} <= {box.text for box in found}
        ticks.append([(b.text, b.left, b.top) for b in found if re.fullmatch(r"−?\d+", b.text)])
    assert ticks[0] == ticks[1]
    assert len(ticks[0]) > 5


def test_the_panels_of_a_training_say_what_they_show():
    texts = {box.text for box in boxes(CHARTS["a separator"]())}
    assert {"training loss", "validation (dB)", "step", "SI-SDRi"} <= texts
    assert "SI-SDRi of the other voice" in texts
    texts = {box.text for box in boxes(CHARTS["lips"]())}
    assert {"training loss", "validation loss", "codes used", "reconstruction"} <= texts
    alone = {"step": [1.0, 2.0], "val_si_sdri": [3.0, 4.0]}
    assert "SI-SDRi" in {b.text for b in boxes(training_curves(trained(alone, count=0)))}


def points(chart: str) -> int:
    """The most points that a line of a chart has."""
    return max(len(re.findall("[ML] ", path.attrib["d"])) for path in svg(chart).iter(PATH))


@pytest.mark.slow
def test_the_loss_is_drawn_by_step_where_the_log_of_steps_is_left(full_workspace):
    lips, dolphin = gather_trainings(full_workspace, ["dolphin"])
    assert (lips.title, dolphin.title) == ("Lip encoder", "Dolphin")
    for training in (lips, dolphin):
        assert len(training.losses[0]) > 100
        assert points(training_curves(training)) > 100
        without = replace(training, losses=((), ()))
        assert points(training_curves(without)) < 30  # one per validation


def test_a_long_log_of_steps_becomes_means_and_damaged_rows_are_left_out(tmp_path):
    rows = [f"{n},{n % 10},1" for n in range(1, 100_001)]
    write_text(
        tmp_path / "steps.csv", "\n".join(["step,loss,lr", *rows, "nan,1", "7", "8,x", "99"])
    )
    steps, losses = read_losses(tmp_path / "steps.csv")
    assert len(steps) == len(losses) == MAX_POINTS
    assert steps[-1] == 100_000
    assert np.allclose(losses, 4.5)
    write_text(tmp_path / "steps.csv", "step,loss\n1,0.5\n2,nan\n3,0.25\n4,in")
    assert [list(column) for column in read_losses(tmp_path / "steps.csv")] == [[1, 3], [0.5, 0.25]]
    assert [len(column) for column in read_losses(tmp_path / "none.csv")] == [0, 0]
    assert training_curves(Training(title="x", command="")) is None
