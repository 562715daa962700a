import pytest
import torch

from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.models.dolphin.state_dict_adapter import load_official
from avsep.models.dolphin.state_dict_names import official_names, unused_names
from tests.support.dolphin_rule import (
    names_and_shapes,
    rule_audio,
    rule_lips,
    rule_state,
    tiny_config,
)


@pytest.fixture(scope="module")
def state():
    return rule_state("tiny")


def test_released_names_and_shapes_of_the_full_model_are_ours():
    with torch.device("meta"):
        model = Dolphin(DolphinConfig.full())
    names = official_names(model)
    released = names_and_shapes("full")
    assert len(released) == 1929
    assert set(names.values()) == set(released)
    assert set(names) == set(model.state_dict())
    for ours, tensor in model.state_dict().items():
        assert [n for n in tensor.shape if n != 1] == [n for n in released[names[ours]] if n != 1]


def test_unused_entries_are_named():
    with torch.device("meta"):
        unused = unused_names(Dolphin(DolphinConfig.full()))
    assert sum(".to_k.0." in name for name in unused) == 118
    assert all(".to_k.0." in name or "video_blocks.loc_glo_fus.2." in name for name in unused)


@pytest.mark.slow
@torch.no_grad()
def test_unused_entries_change_nothing(state):
    mixture, lips = rule_audio(1, 2000), rule_lips(1, 3, 24)
    model = load_official(state, config=tiny_config())
    before = model(mixture, lips)
    other = dict(state)
    for name in unused_names(model):
        other[name] = torch.ones_like(state[name])
    assert torch.equal(load_official(other, config=tiny_config())(mixture, lips), before)


@pytest.mark.slow
def test_both_file_formats_are_read(state, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({name: t.clone() for name, t in state.items()}, tmp_path / "model.safetensors")
    torch.save({"state_dict": state}, tmp_path / "model.pt")
    for file in ("model.safetensors", "model.pt"):
        model = load_official(tmp_path / file, config=tiny_config())
        assert not model.training
        found = model.state_dict()
        for ours, name in official_names(model).items():
            assert torch.equal(found[ours].flatten(), state[name].flatten()), name


def test_missing_and_unknown_names_are_listed(state):
    other = dict(state)
    other["pre_v1.conv.wheight"] = other.pop("pre_v1.conv.weight")
    with pytest.raises(ValueError, match=r"missing: pre_v1\.conv\.weight.*pre_v1\.conv\.wheight"):
        load_official(other, config=tiny_config())


def test_wrong_shapes_and_values_are_listed(state):
    other = dict(state)
    other["audio_decoder.weight"] = other["audio_decoder.weight"][:-1]
    other["pre_v1.conv.bias"] = torch.full_like(other["pre_v1.conv.bias"], float("inf"))
    with pytest.raises(ValueError, match=r"wrong shape: audio_decoder") as caught:
        load_official(other, config=tiny_config())
    assert "not finite: pre_v1.conv.bias" in str(caught.value)


def test_a_damaged_file_is_refused(state, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "model.safetensors"
    save_file({name: t.clone() for name, t in state.items()}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        load_official(path, config=tiny_config())
    with pytest.raises(ValueError, match="is missing"):
        load_official(tmp_path / "absent.pt", config=tiny_config())


def test_a_torch_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"weights": print}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_official(tmp_path / "evil.pt", config=tiny_config())


def test_an_incomplete_official_config_is_refused():
    with pytest.raises(ValueError, match="lacks the key"):
        DolphinConfig.from_official({"num_stages": 4})
