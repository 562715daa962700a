from dataclasses import replace

import pytest
import torch

from avsep.models.dolphin.distillation_targets import log_mel_targets
from avsep.models.dolphin.lip_config import LipEncoderConfig, QuantiserConfig
from avsep.models.dolphin.lip_decoder import LipDecoder
from avsep.models.dolphin.lip_encoder import LipEncoder
from avsep.models.dolphin.lipcoder import LipCoderConfig, LipCoderPretraining, code_usage
from avsep.models.dolphin.quantiser import Quantiser, k_means

SMALL = LipEncoderConfig(
    image_size=24,
    shrink=2,
    layers=("residual", "compress_space", "linear_attend_space", "compress_space", "attend_space"),
    first_channels=4,
    max_channels=8,
    first_kernel=(3, 3, 3),
    heads=2,
    head_size=4,
    linear_heads=2,
    linear_head_size=4,
    quantiser=QuantiserConfig(codes=8, code_size=4, dead_code_threshold=0.5),
)


def moving_lips(batch, frames, generator):
    """A bright bar that opens and closes, one phase an item."""
    opening = torch.rand(batch, frames, 1, 1, generator=generator)
    rows = torch.linspace(-1, 1, 24)[:, None].expand(24, 24)
    return (rows.abs() < opening).float()[:, None] - 0.5, opening[:, :, 0]


@pytest.mark.slow
def test_pretraining_learns_to_rebuild_and_to_follow_the_teacher():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = LipCoderPretraining(LipCoderConfig(lip=SMALL, teacher_size=1)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    history = []
    for _ in range(40):
        lips, opening = moving_lips(2, 12, generator)
        losses = model(lips, opening * 4 - 2)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    early, late = history[0], history[-1]
    assert late["recon"] < 0.5 * early["recon"]
    assert late["distill"] < 0.5 * early["distill"]
    assert late["codes_used"] > 2
    assert 1 < late["perplexity"] <= late["codes_used"]


def test_every_part_of_pretraining_gets_a_gradient():
    model = LipCoderPretraining(LipCoderConfig(lip=SMALL, teacher_size=3)).train()
    model(torch.randn(1, 1, 6, 24, 24), torch.randn(1, 6, 3))["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("size", [24, 22, 44, 88])
def test_decoder_gives_back_the_size_of_the_picture(size):
    config = replace(SMALL, image_size=size, shrink=1)
    lips = torch.randn(1, 1, 3, size, size)
    features = LipEncoder(config).eval()(lips)
    assert features.shape == (1, 3, config.feature_size)
    assert LipDecoder(config)(features).shape == lips.shape


def test_full_size_decoder_mirrors_the_encoder():
    with torch.device("meta"):
        decoder = LipDecoder(LipEncoderConfig())
    kinds = [type(layer).__name__ for layer in decoder.layers]
    assert kinds[:4] == [
        "SpatialBlock",
        "Sequential",
        "UpsampleSpace",
        "SpatialBlock",
    ]
    assert kinds[-1] == "ResidualUnit"


def test_a_teacher_that_does_not_fit_is_refused():
    model = LipCoderPretraining(LipCoderConfig(lip=SMALL, teacher_size=3))
    with pytest.raises(ValueError, match="one vector per lip frame"):
        model(torch.randn(1, 1, 6, 24, 24), torch.randn(1, 5, 3))


def test_codebook_starts_by_k_means_and_only_in_training():
    torch.manual_seed(0)
    centres = 10 * torch.eye(4)
    vectors = (centres.repeat(30, 1) + 0.1 * torch.randn(120, 4)).view(2, 60, 4)
    quantiser = Quantiser(4, QuantiserConfig(codes=4, code_size=4))
    with torch.no_grad():
        quantiser.project_in.weight.copy_(torch.eye(4))
        quantiser.project_in.bias.zero_()
    quantiser.eval()(vectors)
    assert not quantiser.initialised
    quantiser.train()(vectors)
    assert quantiser.initialised
    means, counts = k_means(vectors.flatten(0, 1), 4, 10)
    assert counts.sum() == 120
    assert means.isfinite().all()


def test_eval_moves_nothing_and_training_moves_the_codes_without_gradients():
    quantiser = Quantiser(6, QuantiserConfig(codes=8, code_size=4))
    x = torch.randn(2, 20, 6)
    quantiser.train()(x)
    before = quantiser.codes.clone()
    quantiser.eval()(x)
    assert torch.equal(quantiser.codes, before)
    with torch.no_grad():
        quantiser.train()(x)
    assert not torch.equal(quantiser.codes, before)


def test_dead_codes_are_put_onto_the_data():
    torch.manual_seed(0)
    config = QuantiserConfig(codes=8, code_size=4, dead_code_threshold=1.0)
    quantiser = Quantiser(4, config).train()
    x = torch.randn(2, 40, 4)
    quantiser(x)
    with torch.no_grad():
        quantiser.codes[:4] = 1e3
        quantiser.code_sums[:4] = 1e3
        quantiser.cluster_size[:4] = 0.1
    quantiser(x)
    assert quantiser.codes.abs().max() < 100


def test_code_usage_counts_and_weighs():
    used, perplexity = code_usage(torch.tensor([[0, 0, 3, 3]]), 5)
    assert used == 2
    assert perplexity == pytest.approx(2.0)


def test_log_mel_targets_are_one_vector_per_video_frame():
    time = torch.arange(16000) / 16000
    low, high = torch.sin(2 * torch.pi * 300 * time), torch.sin(2 * torch.pi * 4000 * time)
    audio = torch.cat([low[:8320], high[8320:]])[None]
    targets = log_mel_targets(audio)
    assert targets.shape == (1, 25, 104)
    assert targets.std() == pytest.approx(1.0, abs=0.05)
    band = targets.unflatten(2, (4, 26)).mean(2)[0]
    assert band[2].argmax() < band[20].argmax()
    assert torch.allclose(log_mel_targets(0.01 * audio), targets, atol=1e-3)
    assert log_mel_targets(torch.zeros(1, 1280)).abs().max() == 0
    with pytest.raises(ValueError, match="whole video frames"):
        log_mel_targets(audio[:, :-1])
