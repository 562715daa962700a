import pytest
import torch

from avsep.errors import UsageError
from avsep.loading.mixtures import Mixtures
from avsep.models import checkpoint
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.task import training_mean_face
from avsep.models.vovit.train import train_enhancer, train_stage1
from avsep.models.vovit.train_config import EnhancerTrainConfig, VoViTTrainConfig
from avsep.settings import with_overrides
from avsep.training.config import FitSettings, RunSettings
from avsep.training.process import set_up_process
from tests.support.synthetic_store import SyntheticStore

pytestmark = pytest.mark.slow

TINY = {
    "graph": {"channels": [4, 8]},
    "audio_encoder": {"channels": 4, "out_channels": 2, "convs": [[1, 7, 1, 1], [5, 5, 1, 1]]},
    "fusion": {"width": 32, "heads": 2, "feedforward": 32, "temporal_layers": 1,
               "spectral_layers": 1, "decoder_layers": 1, "mask_hidden": 32, "dropout": 0.1},
    "enhancer": {"channels": [4, 8]},
}  # fmt: skip
RUN = RunSettings(precision="fp32", device="cpu", threads=1)


def fit(**changes):
    return FitSettings(
        **{"steps": 24, "val_every": 8, "batch": 4, "lr": 3e-3, "ema": 0.9, **changes}
    )


@pytest.fixture(scope="module")
def data():
    store = SyntheticStore()
    return Mixtures(store=store, draw=store.draw(50), val=store.val(2, 50))


@pytest.fixture(scope="module")
def stage1(data, tmp_path_factory):
    set_up_process(seed=1, threads=1)
    directory = tmp_path_factory.mktemp("s1")
    return directory, train_stage1(
        VoViTTrainConfig(overrides=TINY, fit=fit()), RUN, data, directory
    )


def test_stage_1_learns_and_is_exported_with_its_mean_face(stage1, data):
    directory, task = stage1
    losses = [row["train_loss"] for row in task.history]
    assert losses[-1] < losses[0]
    model = checkpoint.load(directory, family="vovit")
    assert model.config.variant == "speech-s1"
    torch.testing.assert_close(model.mean_face, training_mean_face(data.store))
    assert model.card["metrics"]["val_si_sdri"] == pytest.approx(
        max(row["val_si_sdri"] for row in task.history), abs=1e-5
    )


def test_stage_2_learns_on_a_first_stage_that_stays_as_it_is(stage1, data, tmp_path):
    set_up_process(seed=1, threads=1)
    config = EnhancerTrainConfig(fit=fit(steps=16, lr=1e-2))
    task = train_enhancer(config, RUN, data, tmp_path, stage1[0])
    assert task.history[-1]["train_loss"] < task.history[0]["train_loss"]
    both, first = checkpoint.load(tmp_path), checkpoint.load(stage1[0])
    assert both.config.variant == "speech"
    ours = both.network.stage1.state_dict()
    for name, tensor in first.network.stage1.state_dict().items():
        assert torch.equal(ours[name], tensor), name


def test_a_clip_that_is_not_finite_makes_the_loss_so(stage1, data):
    from avsep.loading.mixtures import TrainMixtures, collate

    items = TrainMixtures(data.store, data.draw, seed=0, cues=("landmarks",))
    batch = collate([items[0], items[1]])
    assert torch.isfinite(stage1[1].loss(batch))
    batch["target"][1, 5] = float("nan")
    assert torch.isnan(stage1[1].loss(batch))


def test_overrides_change_nested_values_and_refuse_unknown_ones():
    config = with_overrides(VoViTConfig.demo(), TINY, "overrides")
    assert config.fusion.width == 32
    assert config.fusion.mask_hidden == 32
    assert config.spectrum == VoViTConfig.demo().spectrum
    VoViT(config)
    with pytest.raises(UsageError, match=r"overrides\.fusion has the unknown key\(s\) widht"):
        with_overrides(VoViTConfig.demo(), {"fusion": {"widht": 3}}, "overrides")


@pytest.mark.parametrize("seconds", [0.2, 1.0, 1.96, 4.0])
def test_items_of_another_length_than_the_networks_are_one_sentence(data, tmp_path, seconds):
    config = VoViTTrainConfig(overrides=TINY, fit=fit(seconds=seconds))
    with pytest.raises(UsageError, match=r"fit\.seconds is .*clips of 2 s"):
        train_stage1(config, RUN, data, tmp_path)
