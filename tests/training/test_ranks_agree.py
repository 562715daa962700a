"""Two ranks learn what one learns from the same items, and each family what was recorded."""

import csv
import json
from pathlib import Path

import pytest

from avsep.training.config import VERSION
from avsep.training.task import step_seed
from pipeline.execution.launch import launch
from tests.support.family_losses import STEPS, losses

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All families trained by one rank and by two, on the same items."""
    folder = tmp_path_factory.mktemp("families")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        for ranks in (1, 2):
            words = [str(folder / str(ranks)), "--devices", str(ranks), "--ranks", str(ranks)]
            launch("tests.support.family_losses", words, devices=ranks)
    return folder


def validation(folder):
    found = {}
    for path in folder.glob("*/log.csv"):
        _, *rows = csv.reader(path.open())
        found[path.parent.name] = [float(value) for row in rows for value in row]
    return found


def test_one_rank_and_two_lose_the_same_in_every_step(trained):
    one, two = losses(trained / "1"), losses(trained / "2")
    assert one.keys() == two.keys() == {"lipcoder", "dolphin", "vovit-s1", "vovit"}
    for name, values in one.items():
        assert len(values) == STEPS
        assert two[name] == pytest.approx(values, rel=1e-5), name


def test_one_rank_and_two_have_the_same_averages_and_statistics(trained):
    """Which the validation uses."""
    one, two = validation(trained / "1"), validation(trained / "2")
    assert len(one) == 4
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-5), name


@pytest.mark.parametrize("family", ["dolphin", "vovit"])
def test_the_losses_are_those_that_were_recorded(trained, family):
    """Others need a higher version (of training, or of the model), and a new record.

    `python -m tests.support.family_losses OUT --devices 1 --record` writes it.
    """
    recorded = json.loads((GOLDEN / family / "losses.json").read_text())
    assert recorded["version"] == VERSION
    found = losses(trained / "1")
    for name, values in recorded["losses"].items():
        assert found[name] == pytest.approx(values, rel=1e-5), name


def test_each_rank_and_step_draws_its_own_masks():
    seeds = {
        step_seed(seed, step, rank) for seed in (0, 1) for step in range(50) for rank in (0, 1)
    }
    assert len(seeds) == 200
    assert step_seed(3, 7, 1) == step_seed(3, 7, 1)
