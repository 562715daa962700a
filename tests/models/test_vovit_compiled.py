"""VoViT under `torch.compile`: one graph without breaks for any batch."""

import pytest
import torch
from torch._dynamo.utils import counters

from tests.support.vovit_tiny import moving_face, noise, tiny_model


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_without_breaks_serves_any_batch():
    torch._dynamo.reset()
    counters.clear()
    network = tiny_model().network
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=True)
    for batch in (3, 4):  # two would be taken for the number of coordinates
        inputs = noise(batch, 32_767), moving_face(batch, 50)[..., :2] - 112
        ours, theirs = compiled(*inputs).waveform, network(*inputs).waveform
        assert torch.allclose(ours, theirs, atol=1e-5), batch
    assert counters["stats"]["unique_graphs"] == 1
