import json
import sys

import pytest
import torch

from avsep.errors import CheckError
from avsep.models import checkpoint
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.settings import with_overrides

TINY = {
    "graph": {"channels": [4]},
    "audio_encoder": {"channels": 4, "out_channels": 2, "convs": [[1, 7, 1, 1]]},
    "fusion": {
        "width": 16, "heads": 2, "feedforward": 16, "temporal_layers": 1, "spectral_layers": 1,
        "decoder_layers": 1, "mask_hidden": 16,
    },
}  # fmt: skip
CARD = {"family": "vovit", "licence": "Apache-2.0", "metrics": {"val_si_sdri": 1.5}}


def make_model():
    torch.manual_seed(0)
    model = VoViT(with_overrides(VoViTConfig.demo(), TINY, "x"))
    return model.set_mean_face(torch.randn(68, 3))


@pytest.fixture
def saved(tmp_path):
    model = make_model()
    checkpoint.save(model, tmp_path / "m", CARD)
    return tmp_path / "m", model


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(
        one.state_dict().values(), other.state_dict().values(), strict=True
    ))  # fmt: skip


def test_a_model_comes_back_with_its_config_weights_and_card(saved):
    directory, model = saved
    for path in (directory, directory / "card.json", directory / "model.safetensors"):
        loaded = checkpoint.load(path)
        assert not loaded.training
        assert loaded.config == model.config
        assert same_weights(loaded, model)
    assert loaded.card["licence"] == "Apache-2.0"
    assert loaded.card["metrics"] == {"val_si_sdri": 1.5}
    assert loaded.card["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_same_model_gives_the_same_bytes(saved, tmp_path):
    directory, model = saved
    checkpoint.save(model, tmp_path / "again", CARD)
    for name in ("card.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()


def test_without_safetensors_a_weights_only_torch_file_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    real = checkpoint.importlib.util.find_spec
    monkeypatch.setattr(
        checkpoint.importlib.util,
        "find_spec",
        lambda name, *a: None if name == "safetensors" else real(name, *a),
    )
    model = make_model()
    checkpoint.save(model, tmp_path, CARD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "model.pt"]
    assert same_weights(checkpoint.load(tmp_path), model)


def test_damage_is_named(saved):
    directory, _ = saved
    weights = directory / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckError, match=r"model\.safetensors is damaged: its sha256"):
        checkpoint.load(directory)
    weights.unlink()
    with pytest.raises(CheckError, match=r"model\.safetensors is missing"):
        checkpoint.load(directory)
    (directory / "card.json").write_text("{")
    with pytest.raises(CheckError, match=r"card\.json is damaged"):
        checkpoint.load(directory)
    (directory / "card.json").unlink()
    with pytest.raises(CheckError, match="holds no model"):
        checkpoint.load(directory)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 99}, "of version 99"),
        ({"family": "unknown"}, "family 'unknown'"),
        ({"weights": "../../etc/passwd"}, "names the weights"),
        ({"config": {"variant": "speech-s1", "size": 3}}, "unknown key"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(saved, change, words):
    directory, _ = saved
    card = json.loads((directory / "card.json").read_text())
    (directory / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(CheckError, match=words):
        checkpoint.load(directory)


def test_weights_of_another_size_are_refused(saved):
    directory, _ = saved
    card = json.loads((directory / "card.json").read_text())
    card["config"]["fusion"]["mask_hidden"] = 32
    (directory / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckError, match="does not fit"):
        checkpoint.load(directory)


def test_another_family_than_wanted_is_refused(saved):
    with pytest.raises(CheckError, match="holds a vovit, not a dolphin"):
        checkpoint.load(saved[0], family="dolphin")
    with pytest.raises(ValueError, match="family is 'cat'"):
        checkpoint.save(make_model(), saved[0], {"family": "cat"})
    with pytest.raises(ValueError, match="the family dolphin has the class Dolphin"):
        checkpoint.save(make_model(), saved[0], {"family": "dolphin"})
