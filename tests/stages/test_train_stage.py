"""The stages `pretrain` and `train` as a user runs them: child processes on real shards."""

import dataclasses
import errno
import importlib
import os

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError, Reason, UsageError
from avsep.models import checkpoint
from avsep.progress import no_progress
from pipeline.config import load_config
from pipeline.execution import training_run
from pipeline.execution.launch import ChildError, exit_code
from pipeline.execution.markers import write_marker
from pipeline.execution.training_run import restart
from pipeline.stages import train
from tests.support.range_server import serving_folder
from tests.support.stage_run import run_stage
from tests.support.synthetic_workspace import make_workspace
from tests.support.tiny_models import DOLPHIN, VOVIT


def fit(**changes):
    return {"steps": 4, "val_every": 2, "batch": 2, "seconds": 2.0, "lr": 1e-3, **changes}


RUN = {"precision": "fp32", "device": "cpu", "threads": 1}
PARAMS = {
    "pretrain": {**RUN, "lipcoder": {"overrides": DOLPHIN, "fit": fit(seconds=1.0)}},
    "train": {
        **RUN,
        "dolphin": {"overrides": DOLPHIN, "fit": fit(seconds=1.0)},
        "vovit_s1": {"overrides": VOVIT, "fit": fit()},
        "vovit": {"fit": fit()},
    },
}


def launch_here(module, arguments, *, devices, **_):
    """Train in this process, by the `main` that a child would run: starting one takes seconds."""
    assert devices == 1
    assert importlib.import_module(module).main(arguments) == 0
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def no_child(monkeypatch):
    monkeypatch.setattr("pipeline.execution.training_run.launch", launch_here)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    space = make_workspace(tmp_path_factory.mktemp("project"))
    (space.root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    return space


def config_of(workspace, model, **changes):
    config = load_config(workspace.root / "params.yaml", "train")
    return dataclasses.replace(config, model=model, **changes)


def content(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix != ".ckpt"
    }


def test_what_a_model_starts_from_must_be_trained_first(tmp_path):
    space = make_workspace(tmp_path)
    (space.root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    with pytest.raises(CheckError, match="run `avsep run pretrain` first"):
        train.plan(config_of(space, "dolphin"), space)
    with pytest.raises(CheckError, match="run `avsep run train --model vovit-s1` first"):
        train.plan(config_of(space, "vovit"), space)


@pytest.mark.slow
def test_all_models_train_in_their_order_and_again_to_the_same_bytes(workspace, no_child, capsys):
    assert run_stage("pretrain", workspace).counts.done == 1
    assert checkpoint.read_card(workspace.lipcoder)["family"] == "lipcoder"
    for model, family in (("dolphin", "dolphin"), ("vovit-s1", "vovit"), ("vovit", "vovit")):
        report = run_stage("train", workspace, config=config_of(workspace, model))
        assert report.facts["steps"] == 4
        assert report.facts["model"] == model
        names = set(content(workspace.run(model)))
        assert {"card.json", "model.safetensors", "log.csv", "metrics.json"} <= names
        assert not any(name.startswith("tensorboard") for name in names)
        assert (workspace.run(model) / "best.ckpt").exists()
        assert checkpoint.load(workspace.run(model), family=family).card["training"]["fit"]
    said = capsys.readouterr().out
    assert "vovit-s1: step 4, train loss" in said

    before = content(workspace.run("vovit-s1"))
    changed = (workspace.run("vovit-s1") / "last.ckpt").stat().st_mtime_ns
    run_stage("train", workspace, config=config_of(workspace, "vovit-s1"))  # its marker stands
    assert (workspace.run("vovit-s1") / "last.ckpt").stat().st_mtime_ns == changed
    (workspace.work("train") / "vovit-s1.done.json").unlink()
    (workspace.work("train") / "vovit-s1" / "settings.json").unlink()
    run_stage("train", workspace, config=config_of(workspace, "vovit-s1"))  # from nothing
    assert content(workspace.run("vovit-s1")) == before


@pytest.mark.slow
def test_shards_on_a_server_train_the_model_that_shards_here_do(tmp_path, no_child, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models = []
    for place in ("here", "there"):
        space = make_workspace(tmp_path / place)
        (space.root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
        away = tmp_path / place / "away"
        with serving_folder(away) as server:
            changes = {"stream_shards": 1}
            if place == "there":
                space.shards.rename(away)
                space.shards.mkdir()
                (space.shards / "manifest.json").write_bytes((away / "manifest.json").read_bytes())
                changes |= {"stream_from": server.address, "workers": 1}
                server.cut_after = 200_000
            run_stage("train", space, config=config_of(space, "vovit-s1", **changes))
            assert (place == "there") == bool(server.asked["train-000000.tar"])
        models.append(content(space.run("vovit-s1"))["model.safetensors"])
    assert models[0] == models[1]


@pytest.mark.slow
def test_another_set_and_half_a_setting_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    space, other = (make_workspace(tmp_path / n, frames) for n, frames in (("a", 50), ("b", 51)))
    (space.root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    config = config_of(space, "vovit-s1", stream_shards=1, stream_from=str(other.shards))
    with pytest.raises(CheckError, match="has another manifest than"):
        train.plan(config, space)
    with pytest.raises(ValueError, match="stream_from is set, but stream_shards is 0"):
        dataclasses.replace(config, stream_shards=0)
    monkeypatch.setenv("HOME", str(tmp_path))
    for where in ("", "data/shards", "../a/data/shards", "~/a/data/shards"):
        assert train.plan(dataclasses.replace(config, stream_from=where), space)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, Reason.OUT_OF_SPACE),
        (errno.EDQUOT, Reason.OUT_OF_SPACE),
        (errno.EROFS, Reason.DISK_FAILED),
        (errno.ENOENT, Reason.INTERNAL),
    ],
)
def test_a_training_that_the_disk_ended_has_the_reason(tmp_path, monkeypatch, code, reason):
    def fails():
        raise OSError(code, os.strerror(code), "last.ckpt")

    def child(*_, **__):
        raise ChildError(exit_code(fails), "as it says")

    monkeypatch.setattr(training_run, "launch", child)
    space = make_workspace(tmp_path)
    (space.root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    config = config_of(space, "vovit-s1")
    (outcome,) = train.work(config, space, train.plan(config, space)[0], no_progress)
    assert outcome.reason is reason


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dolphin", "vovit-s1", "vovit"])
def test_a_training_starts_from_the_weights_that_init_names(workspace, tmp_path, no_child, model):
    """Nothing else has been trained there. With a rate of nothing the weights stay as they were."""
    start = trained(workspace, model)
    space = make_workspace(tmp_path)
    config = config_of(workspace, model)
    section = dataclasses.replace(
        config.of_model, init=str(start), fit=dataclasses.replace(config.of_model.fit, lr=1e-12)
    )
    config = dataclasses.replace(config, **{model.replace("-", "_"): section})
    run_stage("train", space, config=config)
    ours, theirs = checkpoint.load(space.run(model)), checkpoint.load(start)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-6, msg=name)
    assert ours.card["init"]["sha256"] == theirs.card["sha256"]


def trained(workspace, model):
    """The folder of a trained model; trains what it needs."""
    if not (workspace.lipcoder / "card.json").exists():
        run_stage("pretrain", workspace)
    for name in dict.fromkeys(["vovit-s1", model]):
        if not (workspace.run(name) / "card.json").exists():
            run_stage("train", workspace, config=config_of(workspace, name))
    return workspace.run(model)


@pytest.mark.slow
def test_find_prints_a_rate_and_leaves_no_trace(workspace, capsys):
    from pipeline.train import main

    words = ["train", "--root", str(workspace.root), "--model", "vovit-s1", "--find", "batch"]
    before = sorted(workspace.work("train").glob("vovit-s1/*"))
    assert main(words) == 0
    torch.use_deterministic_algorithms(False)
    assert "Set fit.batch to" in capsys.readouterr().out
    assert sorted(workspace.work("train").glob("vovit-s1/*")) == before


@pytest.mark.parametrize("other", ["--restart", "--retry-failed"])
def test_find_is_for_the_command_line_alone(workspace, other):
    config = dataclasses.replace(config_of(workspace, "vovit-s1"), find="lr")
    with pytest.raises(UsageError, match=r"train\.find is for the command line: --find lr"):
        train.plan(config, workspace)
    words = ["run", "train", "--model", "vovit-s1", "--root", str(workspace.root)]
    done = CliRunner().invoke(app, [*words, "--find", "lr", other])
    assert "--find trains nothing" in str(done.exception)


@pytest.mark.slow
def test_a_failed_training_is_in_the_ledger_and_does_not_block_the_next_run(workspace, monkeypatch):
    from pipeline.execution.ledger import Ledger

    space = workspace
    config = config_of(space, "vovit-s1", seed=7)
    restart(space, "train", train.plan(config, space)[0])
    with pytest.raises(CheckError, match="train vovit-s1 failed: precision fp16 needs a GPU"):
        run_stage("train", space, config=dataclasses.replace(config, precision="fp16"))
    outcome = Ledger(space.ledger).outcomes("train")["vovit-s1"]
    assert "precision fp16 needs a GPU" in outcome.message
    # A marker of an earlier version, which kept the failure, does not block the next run.
    (batch,) = train.plan(config, space)
    write_marker(space, "train", batch, [outcome])
    monkeypatch.setattr("pipeline.execution.training_run.launch", launch_here)
    assert run_stage("train", space, config=config).counts.done == 1


def test_a_model_must_be_named():
    with pytest.raises(UsageError, match="train needs a model"):
        train.plan(train.TrainConfig(), None)
    with pytest.raises(ValueError, match="model is 'unet'"):
        train.TrainConfig(model="unet")


def test_an_empty_list_stops_before_the_training_with_one_sentence(workspace, tmp_path):
    space = make_workspace(tmp_path)
    train_file = space.mixtures / "train.parquet"
    for path, empty in (
        (space.mixtures / "val.jsonl", lambda path: path.write_bytes(b"")),
        (train_file, lambda path: pq.write_table(pq.read_table(path).slice(0, 0), path)),
    ):
        whole = path.read_bytes()
        empty(path)
        with pytest.raises(CheckError, match=r"has no mixtures|give no mixture"):
            train.plan(config_of(workspace, "vovit-s1"), space)
        path.write_bytes(whole)
