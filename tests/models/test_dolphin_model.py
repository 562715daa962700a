import copy
from dataclasses import replace

import pytest
import torch

from avsep.models.dolphin.attention import SelfAttention, position_scores
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.lip_attention import taylor_attention
from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.schema import Cues
from avsep.settings import as_values, build
from tests.support.dolphin_rule import relative, rule_audio, rule_lips, tiny_config, tiny_dolphin


@pytest.fixture(scope="module")
def tiny():
    return tiny_dolphin("auto")


@pytest.fixture(scope="module")
def demo():
    torch.manual_seed(0)
    return Dolphin(DolphinConfig.demo())


@torch.no_grad()
@pytest.mark.parametrize("samples", [16, 17, 19, 20, 100, 1003, 4001, 4002, 4003])
def test_output_is_as_long_as_the_input(tiny, samples):
    assert tiny(rule_audio(1, samples), rule_lips(1, 1, 24)).shape == (1, 1, samples)


@torch.no_grad()
def test_the_odd_tail_changes_nothing_before_it(tiny):
    lips = rule_lips(1, 5, 24)
    mixture = rule_audio(1, 3003)
    whole = tiny(mixture, lips)
    official = tiny(mixture[:, :3000], lips)
    assert torch.equal(whole[..., :3000], official)
    assert whole[..., 3000:].abs().max() > 0


@torch.no_grad()
@pytest.mark.slow
def test_separating_two_mouths_is_two_forwards(tiny):
    mixture, lips = rule_audio(2, 3000), rule_lips(4, 4, 24).unflatten(0, (2, 2))
    both = tiny.separate(mixture, lips)
    assert both.shape == (2, 2, 3000)
    for mouth in range(2):
        assert relative(both[:, mouth], tiny(mixture, lips[:, mouth])[:, 0]) < 1e-4


@torch.no_grad()
def test_kept_lip_features_give_the_same_estimate(tiny):
    mixture, lips = rule_audio(1, 3000), rule_lips(1, 4, 24)
    features = tiny.encode_lips(lips)
    assert torch.equal(tiny.separate_features(mixture, features), tiny(mixture, lips))


@torch.no_grad()
def test_estimate_takes_stored_crops(demo):
    lips = torch.randint(0, 256, (2, 10, 96, 96), dtype=torch.uint8)
    mixture = 0.1 * torch.randn(2, 6400)
    model = copy.deepcopy(demo).eval()
    estimate = model.estimate(mixture, Cues(lips=lips, landmarks=None, valid=None))
    inner = (lips[:, None, :, 4:92, 4:92].float() / 255 - 0.421) / 0.165
    assert estimate.shape == (2, 6400)
    assert torch.allclose(estimate, model(mixture, inner).squeeze(1), atol=1e-5)


@pytest.mark.parametrize(
    ("mixture", "lips", "message"),
    [
        (torch.zeros(1, 15), torch.zeros(1, 1, 1, 24, 24), "at least 16"),
        (torch.zeros(1, 0), torch.zeros(1, 1, 1, 24, 24), "at least 16"),
        (torch.zeros(4000), torch.zeros(1, 1, 6, 24, 24), r"\(B, L\)"),
        (torch.zeros(1, 4000), torch.zeros(1, 1, 6, 96, 96), "24"),
        (torch.zeros(1, 4000), torch.zeros(1, 1, 0, 24, 24), "0 lip frames"),
        (torch.zeros(1, 4000), torch.zeros(1, 1, 8, 24, 24), "8 lip frames"),
        (torch.zeros(2, 4000), torch.zeros(1, 1, 6, 24, 24), "2 mixtures but 1 videos"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(tiny, mixture, lips, message):
    with pytest.raises(ValueError, match=message):
        tiny(mixture, lips)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int16, torch.uint8])
def test_other_number_formats_are_refused(tiny, dtype):
    mixture, lips = torch.zeros(1, 4000), torch.zeros(1, 1, 6, 24, 24)
    features = torch.zeros(1, 6, tiny.config.lip.feature_size)
    name = str(dtype).removeprefix("torch.")
    for call in (
        lambda: tiny(mixture.to(dtype), lips),
        lambda: tiny.separate(mixture.to(dtype), lips[None]),
        lambda: tiny.separate_features(mixture.to(dtype), features),
    ):
        with pytest.raises(ValueError, match=f"mixture is {name}; .* to float32"):
            call()
    with pytest.raises(ValueError, match=f"lips is {name}"):
        tiny(mixture, lips.to(dtype))
    with pytest.raises(ValueError, match=f"lip_features is {name}"):
        tiny.separate_features(mixture, features.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_model_in_another_number_format_says_what_to_do(dtype):
    model = Dolphin(tiny_config()).eval().to(dtype)
    with pytest.raises(ValueError, match=r"keep them in float32 \(model.float\(\)\)"):
        model(torch.zeros(1, 4000, dtype=dtype), torch.zeros(1, 1, 6, 24, 24, dtype=dtype))


def test_features_that_do_not_fit_are_refused(tiny):
    size = tiny.config.lip.feature_size
    mixture, good = torch.zeros(2, 4000), torch.zeros(2, 6, size)
    for features, message in (
        (good[:1], "2 mixtures but 1 videos"),
        (good[..., :-1], rf"\(B, F, {size}\)"),
        (good[0], rf"\(B, F, {size}\)"),
        (good[:, :0], "0 lip frames"),
        (good.repeat(1, 2, 1), "12 lip frames"),
        (good * torch.nan, "features holds NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny.separate_features(mixture, features)
    with pytest.raises(ValueError, match="nothing to separate"):
        tiny.separate_features(mixture[:0], good[:0])
    with pytest.raises(ValueError, match="nothing to separate"):
        tiny(mixture[:0], torch.zeros(0, 1, 6, 24, 24))
    with pytest.raises(ValueError, match="nothing to separate"):
        tiny.separate(mixture, torch.zeros(2, 0, 1, 6, 24, 24))


def test_other_rates_and_nan_are_refused(tiny):
    lips = torch.zeros(1, 1, 1, 6, 24, 24)
    with pytest.raises(ValueError, match="resample to 16000"):
        tiny.separate(torch.zeros(1, 4000), lips, rate_hz=8000)
    with pytest.raises(ValueError, match="mixture holds NaN"):
        tiny(torch.full((1, 4000), float("inf")), lips[0])
    with pytest.raises(ValueError, match="lips holds NaN"):
        tiny(torch.zeros(1, 4000), lips[0] * float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        tiny.separate(torch.full((1, 4000), float("nan")), lips)
    with pytest.raises(ValueError, match="uint8"):
        prepare_lips(torch.zeros(1, 3, 96, 96), 88)


@pytest.mark.slow
def test_every_trained_parameter_gets_a_gradient():
    # DDP without a search for unused parameters needs this.
    config = replace(tiny_config(), dropout=0.0)
    model = Dolphin(config).train()
    model(rule_audio(2, 2000), rule_lips(2, 3, 24)).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []
    model.zero_grad()
    model.freeze_lip_encoder()
    model(rule_audio(2, 2000), rule_lips(2, 3, 24)).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []


def test_a_frozen_lip_encoder_stays_as_it_is_in_training(demo):
    model = copy.deepcopy(demo).freeze_lip_encoder().train()
    assert model.training
    assert not model.lip_encoder.training
    before = {name: t.clone() for name, t in model.lip_encoder.state_dict().items()}
    model.encode_lips(torch.randn(1, 1, 5, 88, 88))
    after = model.lip_encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_a_few_steps_bring_the_estimate_nearer_to_the_target():
    torch.manual_seed(0)
    config = replace(
        DolphinConfig.demo(),
        audio_channels=32,
        kernel=32,
        stride=16,
        front_end="random",
        mask=False,
        channels=32,
        stages=2,
    )
    model = Dolphin(config).freeze_lip_encoder().train()
    mixture = 0.1 * torch.randn(2, 3200)
    target = 0.5 * mixture
    features = torch.randn(2, 5, config.lip.feature_size)
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = (model.separate_features(mixture, features).squeeze(1) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@torch.no_grad()
@pytest.mark.slow
def test_bfloat16_autocast_stays_near_float32(demo):
    model = copy.deepcopy(demo).eval()
    mixture, lips = 0.1 * torch.randn(1, 16000), torch.randn(1, 1, 25, 88, 88)
    features = model.encode_lips(lips)
    exact = model.separate_features(mixture, features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.separate_features(mixture, features)
    assert rounded.dtype == torch.float32
    assert relative(rounded, exact) < 0.05


def test_relative_scores_are_read_off_the_table():
    length, size = 7, 3
    query, positions = torch.randn(2, 4, length, size), torch.randn(2 * length, size)
    scores = position_scores(query, positions)
    for i in range(length):
        for j in range(length):
            row = positions[length - 1 - (i - j)]
            assert torch.allclose(scores[:, :, i, j], query[:, :, i] @ row, atol=1e-5)


def test_training_keeps_no_scores_and_has_the_same_gradients():
    torch.manual_seed(0)
    layer = SelfAttention(16, 2, dropout=0.0, layer_scale=1.0)
    x, positions = torch.randn(2, 40, 16), torch.randn(80, 8)
    probe = torch.randn(2, 40, 16)
    gradients, kept = {}, {}
    for training in (False, True):
        layer.train(training).zero_grad()
        sizes = []
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        )
        with keep:
            out = layer(x, positions)
        kept[training] = max(sizes)
        (out * probe).sum().backward()
        gradients[training] = [p.grad.clone() for p in layer.parameters()]
    for ours, plain in zip(gradients[True], gradients[False], strict=True):
        assert torch.allclose(ours, plain, atol=1e-5)
    assert kept[True] <= x.numel() < 40 * 40 * 2 <= kept[False]


@pytest.mark.slow
def test_taylor_attention_is_the_quadratic_sum():
    query, key, value = (torch.randn(9, 2, 4, 11) for _ in range(3))
    scores = query.transpose(-1, -2) @ key
    weights = 1 + scores + scores.square() / 2
    wanted = (weights / weights.sum(-1, keepdim=True)) @ value.transpose(-1, -2)
    compiled = torch.compile(taylor_attention, backend="eager", fullgraph=True)  # as on GPUs
    for attention in (taylor_attention, compiled):
        assert torch.allclose(attention(query, key, value), wanted.transpose(-1, -2), atol=1e-4)


@pytest.mark.parametrize("config", [DolphinConfig.full(), DolphinConfig.demo()])
def test_configs_survive_json(config):
    assert build(DolphinConfig, as_values(config), "config") == config


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": 18},
        {"channels": 63},
        {"heads": 7},
        {"video_channels": 48},
        {"local_kernel": 64},
        {"dropout": 1.0},
        {"heat": "warm"},
        {"stages": 0},
    ],
)
def test_nonsense_sizes_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(DolphinConfig(), **change)


def test_nonsense_lip_sizes_are_refused():
    with pytest.raises(ValueError, match="layers"):
        LipEncoderConfig(layers=("residual", "pool"))
    with pytest.raises(ValueError, match="shrink"):
        LipEncoderConfig(shrink=3)
