import csv
import json
import os
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avsep.errors import CheckError
from avsep.files import read_json
from avsep.training import fit as fitting
from avsep.training.checkpoints import (
    BEST,
    LAST,
    Checkpoints,
    load_best_average,
    read_checkpoint,
    write_checkpoint,
)
from avsep.training.config import DAMAGED, ENDED, PREVIOUS, STEP_LOG, STEP_TIMES, share_of_step
from avsep.training.precision import Precision, PrecisionChoice
from avsep.training.task import _lay_out_as_weights
from pipeline.execution.launch import launch
from tests.support.toy_fit import Tones, make_task, run


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("unbroken")
    return directory, run(directory)


def same_weights(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_and_a_row_a_validation_is_kept(unbroken):
    directory, task = unbroken
    assert [row["step"] for row in task.history] == [4, 8, 12]
    assert task.history[-1]["train_loss"] < task.history[0]["train_loss"] - 1
    lines = (directory / "log.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("step,lr,train_loss")
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["steps"] == 12
    assert (directory / "dvclive/plots/metrics/train_loss.tsv").read_text().count("\n") == 4
    if find_spec("tensorboardX") or find_spec("tensorboard"):
        (events,) = (directory / "tensorboard").glob("events.out.tfevents.*")
        assert b"val_si_sdr" in events.read_bytes()


class Killed(Exception):
    pass


def die_in_step(task, step):
    loss = task.loss

    def dies(batch):
        if task.steps_done == step:
            raise Killed
        return loss(batch)

    task.loss = dies
    return task


def same_run(directory, other):
    """The same bytes, checkpoints included: they hold no path and no time."""
    for name in (LAST, BEST, "log.csv", "metrics.json"):
        assert (directory / name).read_bytes() == (other / name).read_bytes(), name


def steps_of(directory):
    return list(csv.DictReader((directory / STEP_LOG).open()))


def test_each_step_has_a_row_in_the_log(unbroken):
    directory, task = unbroken
    rows = steps_of(directory)
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    for number, row in enumerate(task.history):
        losses = [float(row["loss"]) for row in rows[4 * number : 4 * number + 4]]
        assert sum(losses) / 4 == pytest.approx(row["train_loss"], rel=1e-6)
    assert float(rows[-1]["lr"]) < float(rows[0]["lr"]) == 1e-2
    assert all(float(row["gradient_norm"]) > 0 for row in rows)
    assert all(0 <= float(row["data_wait_share"]) <= 1 for row in rows)
    assert all(float(row["items_per_s"]) > 0 for row in rows)


def test_steps_that_are_done_again_have_one_row(unbroken, tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, die_in_step(make_task(), 6))
    with (tmp_path / STEP_LOG).open("a") as log:
        log.write("7,0.1")  # cut short
    run(tmp_path)
    logged = [[row["step"], row["loss"]] for row in steps_of(tmp_path)]
    assert logged == [[row["step"], row["loss"]] for row in steps_of(unbroken[0])]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_equals_not_stopping(unbroken, tmp_path, workers):
    directory, whole = unbroken
    with pytest.raises(Killed):
        run(tmp_path, die_in_step(make_task(), 9), workers=workers)
    assert read_checkpoint(tmp_path / LAST)["avsep"]["steps_done"] == 8
    resumed = run(tmp_path, workers=workers)
    assert resumed.steps_done == 12
    same_weights(resumed.model.state_dict(), whole.model.state_dict())
    same_weights(resumed.average.state_dict(), whole.average.state_dict())
    same_run(tmp_path, directory)


@pytest.mark.parametrize("step", [0, 1, 3, 4, 6, 11])
@pytest.mark.slow
def test_a_run_goes_on_in_the_middle_of_an_epoch(unbroken, tmp_path, step):
    """With a checkpoint after each step no step is done twice; the end of an epoch is validated."""
    with pytest.raises(Killed):
        run(tmp_path, die_in_step(make_task(checkpoint_minutes=1e-9), step))
    done = read_checkpoint(tmp_path / LAST)["avsep"]["steps_done"]
    assert done == step
    task = make_task(checkpoint_minutes=1e-9)
    seen, loss = [], task.loss
    task.loss = lambda batch: (seen.extend(batch["item"].tolist()), loss(batch))[1]
    run(tmp_path, task)
    assert seen == list(range(4 * step, 48))
    same_run(tmp_path, unbroken[0])


@pytest.mark.slow
def test_a_run_that_stops_for_its_time_goes_on_with_the_next_item(unbroken, tmp_path, capsys):
    seen = []
    for _ in range(20):
        task = make_task(max_minutes=1e-9)
        loss = task.loss
        task.loss = lambda batch, loss=loss: (seen.extend(batch["item"].tolist()), loss(batch))[1]
        try:
            run(tmp_path, task)
        except CheckError as error:
            assert "before the first validation (val_every 4)" in str(error)  # noqa: PT017
            assert task.steps_done < 4
        if read_json(tmp_path / ENDED)["by"] == "steps":
            break
    assert seen == list(range(48))
    assert "max_minutes (1e-09) ended this start at step 7 of 12" in capsys.readouterr().out
    same_run(tmp_path, unbroken[0])


def test_more_steps_go_on_from_the_end(unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    longer = make_task(steps=20, schedule="constant")
    assert run(tmp_path, longer).steps_done == 20
    assert [row["step"] for row in longer.history] == [4, 8, 12, 16, 20]


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[len(content) // 2 :]
    elif how == "empty":
        content.clear()
    elif how == "a bit":
        content[len(content) // 2] ^= 1
    else:
        content[:] = b"no checkpoint"
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "empty", "a bit", "text", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(unbroken, tmp_path, how, capsys):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    if how == "gone":
        (tmp_path / LAST).unlink()
    else:
        damage(tmp_path / LAST, how)
    run(tmp_path)
    said = capsys.readouterr().out
    assert "is missing." if how == "gone" else "is not a readable checkpoint" in said
    assert "The run goes on from step 8 of previous.ckpt." in said
    assert (tmp_path / DAMAGED).exists() == (how != "gone")
    same_run(tmp_path, unbroken[0])


def test_the_last_checkpoint_keeps_the_one_before_and_the_best_does_not_disturb_it(tmp_path):
    for step, name in enumerate((LAST, BEST, LAST, BEST)):
        write_checkpoint(tmp_path / name, {"avsep": step})
    kept = {name: read_checkpoint(tmp_path / name)["avsep"] for name in (PREVIOUS, LAST, BEST)}
    assert kept == {PREVIOUS: 0, LAST: 2, BEST: 3}


def test_two_damaged_checkpoints_stop_the_run_and_lose_nothing(unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    for name in (LAST, PREVIOUS):
        damage(tmp_path / name, "cut")
    with pytest.raises(CheckError, match=r"last\.ckpt is not.*previous\.ckpt is not.*--restart"):
        run(tmp_path)
    assert (tmp_path / LAST).exists()


def test_a_checkpoint_that_is_a_program_is_not_run(tmp_path):
    class Program:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"avsep": Program()}, tmp_path / LAST)
    with pytest.raises(CheckError, match=r"last\.ckpt is not a readable checkpoint"):
        run(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("batch", "accumulate", "devices"), [(2, 2, 1), (1, 4, 1), (2, 1, 2)])
@pytest.mark.slow
def test_parts_of_a_step_equal_the_whole(tmp_path, batch, accumulate, devices):
    """Also where one process does what the settings mean for two."""
    whole = run(tmp_path / "whole", make_task(norm=False, batch=4).double())
    parts = make_task(norm=False, batch=batch, accumulate=accumulate).double()
    run(tmp_path / "parts", parts, devices=devices)
    assert parts.parts == 4 // batch
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-9, atol=1e-12)


def test_a_finished_run_is_not_trained_again(unbroken, tmp_path):
    directory, whole = unbroken
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    again = run(tmp_path)
    assert again.steps_done == 12
    same_weights(again.model.state_dict(), whole.model.state_dict())


def test_the_same_run_twice_gives_the_same_files(unbroken, tmp_path):
    directory, _ = unbroken
    run(tmp_path)
    for name in ("log.csv", "metrics.json"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()


def test_a_non_finite_step_is_skipped_and_spoils_nothing(tmp_path, capsys):
    task = run(tmp_path, poisoned=[13])  # in step 4
    said = capsys.readouterr().out
    assert "step 4 is skipped: its loss or gradient is not finite; items 12, 13, 14, 15" in said
    assert task.skipped == 1
    assert task.history[0]["skipped"] == 1
    assert all(torch.isfinite(v).all() for v in task.state_dict().values())
    assert task.history[-1]["train_loss"] < task.history[0]["train_loss"]


def test_many_non_finite_steps_stop_the_run(tmp_path):
    task = make_task(max_skipped=2)
    with pytest.raises(CheckError, match="3 training steps gave a non-finite"):
        run(tmp_path, task, poisoned=range(0, 100, 4))


def test_a_checkpoint_of_another_seed_is_refused(unbroken, tmp_path):
    directory, _ = unbroken
    (tmp_path / LAST).write_bytes((directory / LAST).read_bytes())
    task = make_task()
    task.seed = 4
    with pytest.raises(CheckError, match="seed 3"):
        run(tmp_path, task)


def test_the_best_checkpoint_holds_the_average_that_was_validated(unbroken):
    directory, whole = unbroken
    best = max(whole.history, key=lambda row: row["val_si_sdr"])
    task = make_task()
    load_best_average(task, directory)
    assert read_checkpoint(directory / BEST)["avsep"]["steps_done"] == best["step"]


def test_a_set_format_is_taken_without_timing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("avsep.training.fit.time_precisions", lambda *_: pytest.fail("timed"))
    task = run(tmp_path, precision="bf16")
    assert task.precision.name == "bf16"
    assert "toy: precision bf16, as set" in capsys.readouterr().out


def test_auto_times_what_is_computed_at_once(tmp_path, monkeypatch):
    sizes = []
    choice = PrecisionChoice("fp32", "precision fp32: a step takes 1 s")

    def timed(step, _):
        step(Precision("fp32", "cpu"))
        return choice

    monkeypatch.setattr("avsep.training.fit.time_precisions", timed)
    task = make_task(batch=6, accumulate=1)
    monkeypatch.setattr(task, "loss", lambda b, of=task.loss: sizes.append(len(b["item"])) or of(b))
    monkeypatch.setattr("avsep.training.fit.share_of_step", lambda *_: (6, 3))
    run(tmp_path, task, precision="auto")
    assert set(sizes) == {2}


def test_memory_that_runs_out_while_formats_are_timed_is_one_sentence(tmp_path, monkeypatch):
    def timed(*_):
        raise MemoryError

    monkeypatch.setattr("avsep.training.fit.time_precisions", timed)
    with pytest.raises(CheckError, match=r"memory ran out with 4 items .* keeps the items of each"):
        run(tmp_path, precision="auto")


def test_only_the_first_rank_chooses_the_format(tmp_path, monkeypatch):
    class ReachedError(Exception):
        pass

    def stop(*_):
        raise ReachedError

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("avsep.training.fit.time_precisions", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr("avsep.training.fit._trainer", stop)
    with pytest.raises(ReachedError):
        run(tmp_path, precision="auto")


def test_a_resumed_rank_takes_the_first_ranks_format_before_it_restores(tmp_path, monkeypatch):
    run(tmp_path, precision="bf16")
    content = (tmp_path / LAST).read_bytes()
    strategy = SimpleNamespace(root_device=torch.device("cpu"), broadcast=lambda _: "bf16")
    trainer = SimpleNamespace(world_size=2, strategy=strategy, should_stop=False)
    monkeypatch.setattr("avsep.training.checkpoints._of_first_rank", lambda *_: content)
    task = make_task()
    Checkpoints(tmp_path, None).setup(trainer, task, "fit")
    assert (task.precision.name, task.steps_done) == ("bf16", 12)


@pytest.mark.slow
def test_early_stop_ends_the_run_when_nothing_improves(tmp_path):
    task = make_task(lr=1e-12, patience=1, steps=40, ema=0.0)
    assert run(tmp_path, task).steps_done < 40


@pytest.mark.parametrize(
    ("items", "batch", "ranks", "share", "parts"),
    [(24, 3, 8, 3, 1), (24, 3, 1, 24, 8), (24, 24, 2, 12, 1), (24, 5, 1, 24, 6), (6, 4, 1, 6, 2)],
)
def test_a_step_is_shared_out_equally(items, batch, ranks, share, parts):
    assert share_of_step(items, batch, ranks) == (share, parts)


@pytest.mark.parametrize(("items", "ranks"), [(24, 5), (2, 4)])
def test_a_step_that_cannot_be_shared_is_refused(items, ranks):
    with pytest.raises(CheckError, match=f"{items} items .* which {ranks} processes cannot share"):
        share_of_step(items, 4, ranks)


@pytest.mark.slow
def test_two_processes_take_equal_steps_and_end_with_equal_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # Item 6 is seen by the second rank alone, in the first step.
    launch("tests.support.toy_fit", [str(tmp_path), "--poisoned", "6"], devices=2)
    one, other = (torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in (0, 1))
    assert one["steps"] == other["steps"] == 12
    assert one["skipped"] == other["skipped"] == 1  # poisoned on one rank only
    for name in one["model"]:  # statistics of batch norm too: all ranks validate one model
        assert torch.equal(one["model"][name], other["model"][name]), name
        assert torch.equal(one["average"][name], other["average"][name]), name
    assert one["history"] == other["history"]


@pytest.mark.slow
def test_a_run_keeps_the_time_of_its_steps_in_the_work_folder(tmp_path):
    run(tmp_path)
    times = read_json(tmp_path / STEP_TIMES)
    assert times["steps"] == 12
    assert times["seconds_per_step"] > 0
    assert (times["device"], times["devices"], times["item_seconds"]) == ("cpu", 1, 8.0)
    run(tmp_path / "parts", make_task(batch=2, accumulate=3))
    assert read_json(tmp_path / "parts" / STEP_TIMES)["item_seconds"] == 12.0
    before = (tmp_path / STEP_TIMES).read_bytes()
    run(tmp_path)  # finished: no step, so no time
    assert (tmp_path / STEP_TIMES).read_bytes() == before


def test_a_run_that_stops_for_its_time_keeps_the_time_of_its_steps(tmp_path):
    run(tmp_path, make_task(max_minutes=1e-9, val_every=1))
    assert read_json(tmp_path / STEP_TIMES)["steps"] == 1


@pytest.mark.slow
def test_loaders_of_a_training_without_a_launch_work_below_a_long_temporary_folder(tmp_path):
    long = tmp_path / ("x" * 118)
    long.mkdir()
    code = "import sys; from pathlib import Path; from tests.support.toy_fit import run;"
    code += "run(Path(sys.argv[1]), workers=1)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"TMPDIR": str(long), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "metrics.json")["steps"] == 12


@pytest.mark.slow
def test_a_loader_that_hangs_ends_the_training_with_one_sentence(tmp_path, monkeypatch):
    class Stuck(Tones):
        def __getitem__(self, number):
            threading.Event().wait()

    monkeypatch.setattr(fitting, "LOADER_TIMEOUT_S", 1)
    settings = fitting.RunSettings(precision="fp32", device="cpu", workers=1)
    with pytest.raises(CheckError, match="no training items came for 1 s"):
        fitting.fit(make_task(), Stuck(), Tones(), run=settings, directory=tmp_path, name="stuck")


def test_a_restored_optimiser_lies_in_memory_as_its_weights():
    weight = torch.nn.Parameter(torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([weight])
    weight.square().sum().backward()
    optimizer.step()
    kept = optimizer.state[weight]["exp_avg"].contiguous()
    optimizer.state[weight]["exp_avg"] = kept
    _lay_out_as_weights(optimizer)
    laid = optimizer.state[weight]["exp_avg"]
    assert laid.stride() == weight.stride() != kept.stride()
    assert torch.equal(laid, kept)
