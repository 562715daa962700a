"""Which changes let a training go on, which stop it with a sentence, and that none deletes it."""

import dataclasses
import shutil

import pytest
import torch

from avsep.errors import CheckError
from avsep.files import read_json, temporary_sibling
from avsep.models import checkpoint
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.settings import as_values, with_overrides
from pipeline.execution import run_identity, training_run
from pipeline.execution.markers import read_marker, write_marker
from pipeline.execution.training_run import identity_of, prepare_directory, restart
from pipeline.stages import pretrain, train
from tests.stages.test_train_stage import config_of, workspace  # noqa: F401
from tests.support.tiny_models import VOVIT

MODEL = "vovit-s1"


@pytest.fixture
def begun(workspace, tmp_path):  # noqa: F811
    """A workspace with a run that has been begun, and the config it was begun with."""
    space = type(workspace)(tmp_path / "project")
    shutil.copytree(workspace.root, space.root)
    shutil.rmtree(space.root / "data" / ".work", ignore_errors=True)
    config = config_of(space, MODEL, devices=2)
    go_on(space, config)
    (folder(space) / "last.ckpt").write_bytes(b"a month of work")
    return space, config


def folder(space):
    return space.work("train") / MODEL


def go_on(space, config):
    (batch,) = train.plan(config, space)
    prepare_directory(folder(space), f"train {MODEL}", identity_of(batch), config)
    return batch


def changed(config, **changes):
    """The config with other settings: of the stage, of the model's section (`s_`) or its fit."""
    section = config.vovit_s1
    names = {f.name for f in dataclasses.fields(section.fit)}
    fit = {k: v for k, v in changes.items() if k in names}
    own = {k.removeprefix("s_"): v for k, v in changes.items() if k.startswith("s_")}
    rest = {k: v for k, v in changes.items() if k not in fit and not k.startswith("s_")}
    section = dataclasses.replace(section, fit=dataclasses.replace(section.fit, **fit), **own)
    return dataclasses.replace(config, vovit_s1=section, **rest)


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 3, "threads": 2, "cache_mb": 7, "device": "cuda", "deterministic": True},
        {"patience": 9, "max_minutes": 5.0, "checkpoint_minutes": 1.0, "max_skipped": 50},
        {"steps": 400},
        {"devices": 1, "batch": 4},
        {"devices": 1, "accumulate": 2},
        {"devices": 4, "batch": 1},
        {"precision": "auto"},
        {"samples_every": 3, "loggers": ("wandb",)},
    ],
)
def test_what_decides_nothing_lets_a_run_go_on(begun, changes):
    space, config = begun
    go_on(space, changed(config, **changes))
    assert (folder(space) / "last.ckpt").read_bytes() == b"a month of work"
    kept = read_json(folder(space) / training_run.SETTINGS)["config"]
    for name, value in changes.items():
        assert as_values(value) in (kept.get(name), kept["vovit_s1"]["fit"].get(name))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 5}, "train.seed was 0 when the run began and is 5 now"),
        ({"precision": "bf16"}, "train.precision was fp32 when the run began and is bf16 now"),
        ({"val_mixtures": 1}, "train.val_mixtures was 0 when the run began and is 1 now"),
        ({"lr": 2e-3}, "train.vovit-s1.fit.lr was 0.001 when the run began and is 0.002 now"),
        ({"ema": 0.5}, "train.vovit-s1.fit.ema was 0.0 when the run began and is 0.5 now"),
        ({"val_every": 1}, "train.vovit-s1.fit.val_every was 2 when the run began and is 1 now"),
        ({"devices": 1}, r"fit.batch x fit.accumulate x devices\) was 4 when the run.* is 2 now"),
        ({"batch": 3}, r"fit.batch x fit.accumulate x devices\) was 4 when the run.* is 6 now"),
        ({"s_paired": False}, "train.vovit-s1.paired was True when the run began and is False"),
        ({"s_overrides": {}}, "train.vovit-s1.overrides was {'audio_encoder': .* and is {} now"),
        ({"steps": 2}, "fit.steps was 4 and is 2 now; a run may be given more steps, not fewer"),
    ],
)
def test_what_decides_stops_with_both_values_and_loses_nothing(begun, changes, sentence):
    space, config = begun
    with pytest.raises(CheckError, match=f"train vovit-s1 cannot go on: .*{sentence}.*--restart"):
        go_on(space, changed(config, **changes))
    assert (folder(space) / "last.ckpt").read_bytes() == b"a month of work"
    go_on(space, config)  # set back


def test_a_run_without_a_checkpoint_has_nothing_to_lose(begun):
    space, config = begun
    (folder(space) / "last.ckpt").unlink()
    go_on(space, changed(config, lr=7.0))
    assert read_json(folder(space) / training_run.SETTINGS)["config"]["vovit_s1"]["fit"]["lr"] == 7


def test_what_a_kill_has_left_goes_before_the_first_checkpoint_too(begun):
    space, config = begun
    (folder(space) / "last.ckpt").unlink()
    left = [temporary_sibling(folder(space) / name) for name in ("settings.json", "last.ckpt")]
    for number, path in enumerate(left):
        path.touch()
        go_on(space, changed(config, lr=1.0 + number))  # half a checkpoint is nothing to lose
        assert not path.exists()


def test_sections_of_other_models_decide_nothing(begun):
    space, config = begun
    go_on(space, dataclasses.replace(config, vovit=dataclasses.replace(config.vovit, paired=False)))


def test_changed_inputs_and_code_stop_it_too(begun, monkeypatch):
    space, config = begun
    val = space.mixtures / "val.jsonl"
    lines = val.read_text()
    val.write_text("\n".join(lines.splitlines()[:1]) + "\n")
    with pytest.raises(CheckError, match=r"data/mixtures/val\.jsonl has changed since the run"):
        go_on(space, config)
    val.write_text(lines)
    monkeypatch.setattr(run_identity, "VERSION", "99")
    with pytest.raises(CheckError, match=r"version of the training code was 1\.1 .* is 99\.1 now"):
        go_on(space, config)


def test_a_run_of_an_older_version_has_the_default_of_a_new_setting(begun, monkeypatch):
    space, config = begun
    file = folder(space) / training_run.SETTINGS
    kept = read_json(file)
    del kept["decides"]["train.vovit-s1.fit.clip"]
    for ours in (config, changed(config, clip=1.0)):
        training_run.write_json(file, kept)
        if ours is config:
            go_on(space, ours)
        else:
            with pytest.raises(CheckError, match=r"fit\.clip was 5\.0 .* and is 1\.0 now"):
                go_on(space, ours)


def model_at(space, name, seed):
    """A VoViT of the sizes of the settings, where `init` can name it."""
    torch.manual_seed(seed)
    config = with_overrides(VoViTConfig.demo("speech-s1"), VOVIT, "overrides")
    model = VoViT(config).set_mean_face(torch.rand(68, 3))
    checkpoint.save(model, space.root / name, {"family": "vovit"})


def test_other_weights_to_start_from_stop_it(begun, monkeypatch):
    space, config = begun
    monkeypatch.setenv("AVSEP_WEIGHTS", str(space.root / "nothing"))
    with pytest.raises(CheckError, match="no released weights of vovit-s1 on this machine"):
        go_on(space, changed(config, s_init="released"))
    model_at(space, "mine", 0)
    with pytest.raises(CheckError, match=r"vovit-s1\.init was not set .* and is mine now"):
        go_on(space, changed(config, s_init="mine"))
    (batch,) = train.plan(config, space)
    restart(space, "train", batch)
    go_on(space, changed(config, s_init="mine"))
    (folder(space) / "last.ckpt").write_bytes(b"a month of work")
    go_on(space, changed(config, s_init="mine"))
    with pytest.raises(CheckError, match=r"vovit-s1\.init was mine .* and is not set now"):
        go_on(space, config)
    model_at(space, "mine", 1)
    with pytest.raises(CheckError, match="the model of init has changed since the run began"):
        go_on(space, changed(config, s_init="mine"))
    assert (folder(space) / "last.ckpt").read_bytes() == b"a month of work"


def test_restart_moves_the_old_run_aside_each_time(begun):
    space, config = begun
    (batch,) = train.plan(config, space)
    other = changed(config, lr=1.0)
    for number in (1, 2):
        write_marker(space, "train", batch, [])
        place = restart(space, "train", batch)
        assert place == space.work("train") / f"{MODEL}.old-{number}"
        assert (place / "last.ckpt").read_bytes() == b"a month of work"
        assert read_marker(space, "train", batch) is None
        go_on(space, other)
        (folder(space) / "last.ckpt").write_bytes(b"a month of work")


@pytest.mark.parametrize("content", ["", "{}", '{"settings": "1a2b", "config": {}}', "[1]"])
def test_a_run_that_does_not_say_its_settings_is_kept_aside(begun, content, capsys):
    space, config = begun
    (folder(space) / training_run.SETTINGS).write_text(content)
    go_on(space, config)
    aside = space.work("train") / f"{MODEL}.old-1"
    assert (aside / "last.ckpt").read_bytes() == b"a month of work"
    assert "starts again: the old run did not say its settings" in capsys.readouterr().out


def test_a_marker_stands_for_the_same_result_alone(begun):
    space, config = begun
    settings = {train.plan(changed(config, workers=n), space)[0].settings for n in (0, 4)}
    assert len(settings) == 1
    settings |= {
        train.plan(changed(config, **c), space)[0].settings for c in ({"steps": 8}, {"patience": 3})
    }
    assert len(settings) == 3


def test_every_setting_that_decides_nothing_exists(workspace):  # noqa: F811
    config = config_of(workspace, MODEL)
    for part in (config, config.vovit_s1.fit, pretrain.PretrainConfig()):
        names = {f.name for f in dataclasses.fields(part)}
        assert set(part.DECIDES_NOTHING) <= names
