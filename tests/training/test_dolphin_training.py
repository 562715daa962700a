from dataclasses import replace

import pytest
import torch

from avsep.errors import CheckError
from avsep.loading.config import AugmentConfig
from avsep.loading.mixtures import Mixtures
from avsep.machine import machine
from avsep.models import checkpoint
from avsep.models.dolphin.pretrain import pretrain_lipcoder
from avsep.models.dolphin.train import train_dolphin
from avsep.models.dolphin.train_config import (
    DolphinTrainConfig,
    LipCoderTrainConfig,
    network_config,
)
from avsep.training.config import FitSettings, RunSettings
from avsep.training.process import set_up_process
from tests.support.synthetic_store import SyntheticStore

TINY = {
    "lip": {
        "shrink": 8, "layers": ["compress_space", "residual"], "first_channels": 2,
        "first_kernel": [3, 3, 3], "quantiser": {"codes": 8, "code_size": 4},
    },
    "audio_channels": 128, "kernel": 64, "stride": 32, "channels": 16, "stages": 2, "heads": 2,
    "local_kernel": 5, "video_channels": 8,
}  # fmt: skip
RUN = RunSettings(precision="fp32", device="cpu", threads=1)
AUGMENT = AugmentConfig(crop=True, flip=0.5)
VIEWS = AugmentConfig(crop=True, flip=0.5, light=1.0)


def fit(**changes):
    values = {"steps": 20, "val_every": 10, "batch": 4, "seconds": 1.0, "lr": 3e-3, **changes}
    return FitSettings(**values)


@pytest.fixture(scope="module")
def data():
    store = SyntheticStore()
    return Mixtures(store=store, draw=store.draw(25), val=store.val(2, 25))


@pytest.fixture(scope="module")
def lipcoder(data, tmp_path_factory):
    set_up_process(seed=1, threads=1)
    directory = tmp_path_factory.mktemp("lipcoder")
    config = LipCoderTrainConfig(overrides=TINY, fit=fit(steps=30, lr=1e-2), augment=AUGMENT)
    return directory, pretrain_lipcoder(config, RUN, data.store, directory)


@pytest.fixture(scope="module")
def dolphin(data, lipcoder, tmp_path_factory):
    set_up_process(seed=1, threads=1)
    directory = tmp_path_factory.mktemp("dolphin")
    config = DolphinTrainConfig(
        overrides=TINY, fit=fit(steps=60, val_every=20, ema=0.9), augment=VIEWS, cached_views=2
    )
    return directory, train_dolphin(config, RUN, data, directory, lipcoder[0])


@pytest.mark.slow
def test_the_lip_encoder_learns_and_is_exported_alone(lipcoder):
    directory, task = lipcoder
    losses = [row["train_loss"] for row in task.history]
    assert losses[-1] < 0.7 * losses[0]
    encoder = checkpoint.load(directory, family="lipcoder")
    assert encoder.config == network_config(DolphinTrainConfig(overrides=TINY)).lip
    assert bool(encoder.quantiser.initialised)
    assert {"val_recon", "val_distill", "val_codes_used"} <= task.history[0].keys()


@pytest.mark.slow
def test_dolphin_learns_to_use_the_lips(dolphin):
    _, task = dolphin
    last = task.history[-1]
    assert last["train_loss"] < task.history[0]["train_loss"] - 1
    assert last["val_si_sdri"] > last["val_wrong_si_sdri"] + 1


@pytest.mark.slow
def test_the_lip_encoder_stays_frozen_and_its_codebook_does_not_move(dolphin, lipcoder):
    ours = checkpoint.load(dolphin[0], family="dolphin").lip_encoder.state_dict()
    for name, tensor in checkpoint.load(lipcoder[0]).state_dict().items():
        assert torch.equal(ours[name], tensor), name
    assert not dolphin[1].model.lip_encoder.training


@pytest.mark.slow
def test_the_exported_model_estimates_as_it_was_validated(dolphin, data):
    from avsep.evaluation.items import build_item
    from avsep.schema import Cues
    from avsep.training.losses import si_sdr

    model = checkpoint.load(dolphin[0])
    gains = []
    for recipe in data.val:
        item = build_item(data.store, recipe)
        mixture = torch.from_numpy(item.mixture)[None]
        for voice, cues in enumerate(item.cues):
            lips = Cues(lips=torch.from_numpy(cues.lips)[None], landmarks=None, valid=None)
            target = torch.from_numpy(item.sources[voice])[None]
            with torch.no_grad():
                estimate = model.estimate(mixture, lips)
            gains.append(float(si_sdr(estimate, target) - si_sdr(mixture, target)))
    assert model.card["precision"] == "fp32"
    assert (model.card["machine"], model.card["device"]) == (machine(), "cpu")
    # Cached features see beyond the window's ends; so they are close, not equal.
    assert sum(gains) / len(gains) == pytest.approx(model.card["metrics"]["val_si_sdri"], abs=0.5)


@pytest.mark.slow
def test_fitting_the_lip_encoder_along_moves_it(data, lipcoder, tmp_path):
    set_up_process(seed=1, threads=1)
    config = DolphinTrainConfig(
        overrides=TINY,
        fit=fit(steps=4, val_every=2),
        train_lip_encoder=True,
        cached_views=0,
        augment=AUGMENT,
    )
    train_dolphin(config, RUN, data, tmp_path, lipcoder[0])
    ours = checkpoint.load(tmp_path).lip_encoder.recon.first.weight
    assert not torch.equal(ours, checkpoint.load(lipcoder[0]).recon.first.weight)


@pytest.mark.slow
def test_features_are_shared_out_by_what_the_run_has_still_to_visit(
    data, lipcoder, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        "avsep.models.dolphin.lip_features.LipFeatureCache.fill_together",
        lambda self, *, visits, rank, num_ranks, add_up: calls.append((visits, rank, num_ranks)),
    )
    for steps in (4, 10):
        set_up_process(seed=1, threads=1)
        config = DolphinTrainConfig(
            overrides=TINY, fit=fit(steps=steps, val_every=2), cached_views=2
        )
        train_dolphin(config, RUN, data, tmp_path, lipcoder[0])
    assert calls == [(4 * 4, 0, 1), (6 * 4, 0, 1)]


@pytest.mark.slow
def test_only_the_clips_that_training_draws_from_are_encoded_beforehand(
    data, lipcoder, tmp_path, capsys
):
    fewer = replace(data, draw=SyntheticStore(clips=2).draw(25))  # of three clips a speaker
    set_up_process(seed=1, threads=1)
    config = DolphinTrainConfig(
        overrides=TINY, fit=fit(steps=12, val_every=12), cached_views=2, augment=VIEWS
    )
    train_dolphin(config, RUN, fewer, tmp_path, lipcoder[0])
    assert "lip features of 16 views" in capsys.readouterr().out


@pytest.mark.slow
def test_a_lip_encoder_of_other_sizes_is_refused(data, lipcoder, tmp_path):
    with pytest.raises(CheckError, match="lip encoder of other sizes"):
        train_dolphin(DolphinTrainConfig(fit=fit()), RUN, data, tmp_path, lipcoder[0])


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"train_lip_encoder": True}, "needs a frozen lip encoder"), ({"cached_views": -1}, "is -1")],
)
def test_settings_that_exclude_each_other_are_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        DolphinTrainConfig(**changes)
