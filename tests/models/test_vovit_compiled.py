"""VoViT under `torch.compile`: one graph for any batch, on the CPU and by the GPU kernels."""

import pytest
import torch
from torch._dynamo.utils import counters

from avsep.models.vovit.inputs import Clips
from avsep.models.vovit.targets import stage1_loss
from tests.support.vovit_tiny import moving_face, noise, tiny_model

pytestmark = pytest.mark.slow
CLIP = 32_767


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.parametrize("variant", ["speech-s1", "speech"])
@torch.no_grad()
def test_one_graph_without_breaks_serves_any_batch(variant):
    network = tiny_model(variant).network
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=True)
    for batch in (2, 3, 5):
        inputs = noise(batch, CLIP), moving_face(batch, 50)[..., :2] - 112
        ours, theirs = compiled(*inputs).waveform, network(*inputs).waveform
        assert torch.allclose(ours, theirs, atol=1e-5), batch
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("training", [False, True])
def test_the_kernels_for_gpus_do_not_break_the_graph(training):
    """On tensors without values, which take the way of a GPU."""
    model = tiny_model().to("meta").train(training)
    sound = torch.empty(2, CLIP, device="meta")
    clips = Clips(sound, torch.empty_like(sound), torch.empty(2, 50, 68, 2, device="meta"))

    def work():
        if training:
            return stage1_loss(model, clips).value
        return model.network(clips.mixture, clips.points).waveform

    with torch.set_grad_enabled(training):
        torch.compile(work, backend="eager", fullgraph=True)()
    assert counters["stats"]["unique_graphs"] == 1
