"""A training that starts from the weights of another model: `train.<model>.init`."""

import dataclasses

import pytest
import torch

from avsep.errors import CheckError
from avsep.loading.mixtures import Mixtures
from avsep.models import checkpoint
from avsep.models.dolphin.model import Dolphin
from avsep.models.dolphin.train import initial_model
from avsep.models.dolphin.train_config import DolphinTrainConfig, network_config
from avsep.models.vovit import train as vovit_training
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.train_config import EnhancerTrainConfig, VoViTTrainConfig
from avsep.settings import with_overrides
from avsep.training.config import RunSettings
from avsep.weights.initial import find_initial
from tests.support.synthetic_store import SyntheticStore
from tests.support.tiny_models import DOLPHIN, VOVIT

TERMS = "for research alone"


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def dolphin(tmp_path_factory):
    torch.manual_seed(5)
    model = Dolphin(network_config(DolphinTrainConfig(overrides=DOLPHIN)))
    path = tmp_path_factory.mktemp("models") / "dolphin.safetensors"
    checkpoint.save_file(model, path, {"family": "dolphin", "licence": TERMS})
    lipcoder = path.parent / "lipcoder"
    checkpoint.save(model.lip_encoder, lipcoder, {"family": "lipcoder"})
    return path, lipcoder, model


@pytest.fixture(scope="module")
def vovit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vovit")
    models = {}
    for variant in ("speech-s1", "speech"):
        torch.manual_seed(6)
        config = with_overrides(VoViTConfig.demo(variant), VOVIT, "overrides")
        models[variant] = VoViT(config).set_mean_face(torch.rand(68, 3))
        checkpoint.save(models[variant], folder / variant, {"family": "vovit", "licence": TERMS})
    return folder, models


# --- Dolphin


def test_dolphin_starts_from_a_whole_model_or_from_its_lip_encoder(dolphin):
    path, lipcoder, model = dolphin
    config = DolphinTrainConfig(overrides=DOLPHIN, init="x")
    assert same(initial_model(config, path), model)
    part = dataclasses.replace(config, init_part="lip_encoder")
    for settings, start in ((part, path), (config, lipcoder)):
        begun = initial_model(settings, start)
        assert same(begun.lip_encoder, model.lip_encoder)
        assert not same(begun.separator, model.separator)
    # Without init, what `pretrain` has made.
    assert same(initial_model(dataclasses.replace(config, init=""), lipcoder).lip_encoder,
                model.lip_encoder)  # fmt: skip
    with pytest.raises(CheckError, match="holds a dolphin; this training starts from a lipcoder"):
        initial_model(dataclasses.replace(config, init=""), path)


@pytest.mark.slow
def test_what_changes_no_weight_may_differ_and_the_rest_is_named_with_both_values(dolphin):
    path, lipcoder, model = dolphin
    free = DOLPHIN | {"dropout": 0.4, "heat": "fft", "layer_scale": 0.5}
    begun = initial_model(DolphinTrainConfig(overrides=free, init="x"), path)
    assert same(begun, model)
    assert begun.config.dropout == 0.4
    for overrides, sentence in (
        (DOLPHIN | {"channels": 16}, "channels 8, but size and overrides ask for 16"),
        (DOLPHIN | {"heads": 4}, "heads 2, but size and overrides ask for 4"),  # of equal shapes
        (DOLPHIN | {"lip": DOLPHIN["lip"] | {"shrink": 4}}, r"lip\.shrink 8, but .* ask for 4"),
    ):
        with pytest.raises(CheckError, match=f"whose network has {sentence}"):
            initial_model(DolphinTrainConfig(overrides=overrides, init="x"), path)
    with pytest.raises(CheckError, match="lip encoder of other sizes"):
        initial_model(DolphinTrainConfig(init="x"), lipcoder)


# --- VoViT


@pytest.fixture
def begun(monkeypatch):
    """The model that a training of VoViT begins with; nothing is trained."""
    monkeypatch.setattr(vovit_training, "_train", lambda model, *_: model)
    store = SyntheticStore()
    data = Mixtures(store=store, draw=store.draw(50), val=store.val(2, 50))

    def start(function, config, *place):
        return function(config, RunSettings(), data, None, *place)

    return start


def test_vovit_starts_from_the_first_stage_of_either_and_keeps_its_mean_face(vovit, begun):
    folder, models = vovit
    config = VoViTTrainConfig(overrides=VOVIT, init="x")
    for variant, model in models.items():
        first = begun(vovit_training.train_stage1, config, folder / variant)
        assert first.config.variant == "speech-s1"
        assert same(first.network.stage1, model.network.stage1)
        assert torch.equal(first.mean_face, model.mean_face)
    other = VOVIT | {"fusion": VOVIT["fusion"] | {"heads": 4}}
    with pytest.raises(CheckError, match=r"network has fusion\.heads 2, but .* ask for 4"):
        begun(vovit_training.train_stage1, dataclasses.replace(config, overrides=other),
              folder / "speech")  # fmt: skip


@pytest.mark.slow
def test_the_enhancer_starts_from_both_stages_or_new_on_a_first_one(vovit, begun):
    folder, models = vovit
    config = EnhancerTrainConfig(init="x")
    both = begun(vovit_training.train_enhancer, config, folder / "speech")
    assert same(both, models["speech"])
    trained = {name for name, p in both.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("network.enhancer") for name in trained)
    assert both.network.enhancer.training
    assert not both.network.stage1.training
    new = begun(vovit_training.train_enhancer, config, folder / "speech-s1")
    assert same(new.network.stage1, models["speech-s1"].network.stage1)
    wider = dataclasses.replace(config, overrides={"channels": [4, 8]})
    with pytest.raises(CheckError, match="network has channels"):
        begun(vovit_training.train_enhancer, wider, folder / "speech")


def test_a_model_without_a_mean_face_or_of_another_family_is_refused(
    vovit, dolphin, begun, tmp_path
):
    _, models = vovit
    model = VoViT(models["speech-s1"].config)  # has none
    checkpoint.save(model, tmp_path / "s1", {"family": "vovit"})
    config = VoViTTrainConfig(overrides=VOVIT, init="x")
    with pytest.raises(CheckError, match="no mean face; import it again with --mean-face"):
        begun(vovit_training.train_stage1, config, tmp_path / "s1")
    with pytest.raises(CheckError, match="holds a dolphin; this training starts from a vovit"):
        begun(vovit_training.train_stage1, config, dolphin[0])


# --- where the weights lie


def test_released_weights_are_those_of_the_store_and_paths_are_the_projects(
    dolphin, tmp_path, monkeypatch
):
    monkeypatch.setenv("AVSEP_WEIGHTS", str(tmp_path / "store"))
    for model, name in (("dolphin", "dolphin"), ("lipcoder", "dolphin"), ("vovit-s1", "vovit-s1")):
        with pytest.raises(CheckError, match=f"download them with `avsep weights get {name}`"):
            find_initial("released", model, tmp_path)
    with pytest.raises(CheckError, match="nobody has released weights of toy"):
        find_initial("released", "toy", tmp_path)
    for name in ("dolphin", "vovit"):
        checkpoint.save_file(
            dolphin[2], tmp_path / "store" / f"{name}.safetensors", {"family": "dolphin"}
        )
    assert find_initial("released", "lipcoder", tmp_path).stem == "dolphin"
    assert find_initial("released", "vovit-s1", tmp_path).stem == "vovit"  # its first stage
    with pytest.raises(CheckError, match="init is 'nowhere'; it must be released or a model"):
        find_initial("nowhere", "dolphin", tmp_path)
    assert find_initial("store/dolphin.safetensors", "dolphin", tmp_path).exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckError, match=r"empty holds no model: card\.json is missing"):
        find_initial("empty", "dolphin", tmp_path)
