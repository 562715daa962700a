"""Dolphin under `torch.compile`: one graph, for audio of any length."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

from avsep.models.dolphin.blocks import LocalBlock
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.model import Dolphin

SMALL = replace(
    DolphinConfig.demo(),
    stages=1,
    channels=16,
    audio_channels=16,
    kernel=256,
    front_end="random",
    heads=2,
    video_channels=8,
    lip=replace(
        LipEncoderConfig.demo(),
        layers=("compress_space", "linear_attend_space"),
        first_channels=2,
    ),
)


def example(samples):
    generator = torch.Generator().manual_seed(samples)
    frames = -(-samples // 640)
    mixture = 0.1 * torch.randn(1, samples, generator=generator)
    return mixture, torch.randn(1, 1, frames, 88, 88, generator=generator)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Dolphin(SMALL).eval()


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_without_breaks_serves_other_lengths(model):
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)
    for samples in (48_000, 51_200, 64_000):
        inputs = example(samples)
        assert torch.allclose(compiled(*inputs), model(*inputs), atol=1e-5), samples
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_a_block_in_training_compiles_with_its_own_gradients():
    torch._dynamo.reset()
    torch.manual_seed(0)
    block = LocalBlock(replace(SMALL, dropout=0.0)).train()
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 300, SMALL.channels)
    block(x).square().sum().backward()
    plain = {name: p.grad.clone() for name, p in block.named_parameters()}
    block.zero_grad()
    compiled(x).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert torch.allclose(parameter.grad, plain[name], rtol=1e-3, atol=1e-3), name
