"""Short trials that find a learning rate and a batch size."""

import pytest
import torch

from avsep.errors import CheckError
from avsep.training import finders
from avsep.training.config import RunSettings
from avsep.training.finders import (
    BatchTrial,
    FoundError,
    batch_trials,
    lr_trials,
    told_batches,
    told_rates,
)
from tests.support.toy_fit import Tones, make_task, run

RUN = RunSettings(precision="fp32", device="cpu", devices=2)


@pytest.mark.slow
def test_the_rate_that_is_found_trains_and_a_thousandth_of_it_does_not(tmp_path):
    rows = lr_trials(make_task(), Tones(), RUN)
    assert rows[0][0] == pytest.approx(finders.LOWEST_LR)
    told = told_rates(rows)
    found = float(told.split("falls fastest at lr ")[1].split()[0])
    assert 3e-4 < found < 3e-2
    losses = {
        lr: run(tmp_path / str(lr), make_task(lr=lr)).history[-1]["train_loss"]
        for lr in (found / 1000, found)
    }
    assert losses[found] < losses[found / 1000] - 1


@pytest.mark.slow
def test_a_step_of_a_trial_is_the_step_of_the_training():
    seen = []
    task = make_task(batch=4, accumulate=3)
    loss = task.loss
    task.loss = lambda batch: (seen.append(batch["item"].tolist()), loss(batch))[1]
    lr_trials(task, Tones(), RUN)
    assert seen[:12] == [list(range(4 * i, 4 * i + 4)) for i in range(12)]  # 24 items per step


def test_a_loss_that_does_not_fall_is_said():
    with pytest.raises(CheckError, match="did not fall at any rate from 1e-06 to 1"):
        told_rates([(10.0 ** (n / 5 - 6), 1.0 + n) for n in range(30)])
    task = make_task()
    task.loss = lambda batch: task.model(batch["mixture"]).sum() * float("nan")
    with pytest.raises(CheckError, match="did not fall"):
        told_rates(lr_trials(task, Tones(), RUN))


@pytest.mark.slow
def test_batches_grow_until_the_memory_is_full(monkeypatch):
    trials = batch_trials(make_task(), Tones(), most=24)
    assert [trial.batch for trial in trials] == [1, 2, 4, 8, 16, 24]
    assert all(trial.seconds > 0 and trial.memory_mb > 0 for trial in trials)

    task = make_task()
    loss = task.loss

    def limited(batch):
        if len(batch["item"]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(batch)

    task.loss = limited
    limit = 5
    assert [trial.batch for trial in batch_trials(task, Tones(), most=24)] == [1, 2, 4]
    limit = 0
    with pytest.raises(CheckError, match=r"does not hold a step with one item; shorten fit\.secon"):
        batch_trials(task, Tones(), most=24)
    monkeypatch.setattr(finders, "available_mb", lambda: -1.0)  # a CPU gives no error in time
    assert [trial.batch for trial in batch_trials(make_task(), Tones(), most=24)] == [1]


def test_the_smallest_batch_of_about_the_best_speed_is_taken_at_equal_items_per_step():
    trials = [
        BatchTrial(1, 0.10, 100), BatchTrial(2, 0.12, 150), BatchTrial(4, 0.16, 250),
        BatchTrial(8, 0.33, 450), BatchTrial(16, 0.50, 900),
    ]  # fmt: skip
    told = told_batches(trials, items=48, devices=2)  # 24 each: 16 does not divide them
    assert "Set fit.batch to 4 and fit.accumulate to 6: with devices 2" in told
    assert "   16       0.500    32.00         900" in told


@pytest.mark.slow
def test_fit_finds_instead_of_training(tmp_path):
    with pytest.raises(FoundError, match=r"set fit\.lr to"):
        run(tmp_path, find="lr")
    with pytest.raises(FoundError, match=r"Set fit\.batch to"):
        run(tmp_path, find="batch")
    assert not list(tmp_path.iterdir())
