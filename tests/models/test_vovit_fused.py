"""When VoViT takes its kernels for GPUs, and what they rely on; their numbers: test_gpu_kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from avsep.bench.models.launch_counter import counted_launches
from avsep.models.gpu.convolution import Conv2d
from avsep.models.vovit import fused
from avsep.models.vovit.graph import GraphNetwork, adjacency
from tests.support.vovit_tiny import tiny_config, tiny_model


def kernels(*, training, grad):
    """The operations of a forward pass of the first stage, as on a GPU."""
    network = tiny_model().to("meta").train(training).network
    sizes = network.spectrum

    def work():
        spectrum = torch.empty(
            1, sizes.num_bins, sizes.num_frames, dtype=torch.complex64, device="meta"
        )
        points = torch.empty(1, sizes.clip_video_frames, 68, 2, device="meta")
        with torch.set_grad_enabled(grad):
            network.stage1(spectrum, points)

    return counted_launches(work).kernels


def test_inference_and_training_take_the_kernels():
    inference = kernels(training=False, grad=False)
    assert inference["norm_act"]
    assert inference["linear_act"]
    training = kernels(training=True, grad=True)
    assert training["batch_norm_act"]
    assert training["gelu_drop"]
    assert not {"native_layer_norm", "_native_batch_norm_legit"} & (inference + training).keys()


def test_eval_mode_with_gradients_takes_the_layers():
    taken = kernels(training=False, grad=True)
    assert not taken["norm_act"]
    assert not taken["add_norm"]
    assert taken["native_layer_norm"]


def test_with_several_ranks_batch_norm_is_theirs(monkeypatch):
    monkeypatch.setattr(fused, "ranks_together", lambda: 2)
    for norm, shape in ((nn.BatchNorm2d(3), (1, 3, 40, 1)), (nn.BatchNorm1d(3), (40, 3))):
        x, bias, added = torch.randn(40, 3), torch.randn(3), torch.randn(40, 3)
        ours = fused._norm_act(norm, x, slope=0.0, conv_bias=bias, residual=added)
        planes = (x + bias).t().reshape(shape) if len(shape) == 4 else x + bias
        theirs = norm(planes)
        theirs = theirs[0, :, :, 0].t() if len(shape) == 4 else theirs
        assert torch.allclose(ours, F.relu(theirs + added), atol=1e-6)
        assert ours.is_contiguous()
        assert norm.num_batches_tracked == 2


def test_weights_lie_channels_last_everywhere_but_on_a_cpu():
    conv = Conv2d(4, 4, 3).double()
    assert conv.weight.is_contiguous()
    assert conv.to("meta").weight.is_contiguous(memory_format=torch.channels_last)


def test_a_graph_that_joins_distant_landmarks_is_refused():
    graph = GraphNetwork(tiny_config().graph)
    state = graph.state_dict()
    graph.load_state_dict(state)
    state["edges"] = adjacency()
    state["edges"][1, 5, 7] = 0.5
    with pytest.raises(RuntimeError, match="edges joins landmarks that are not neighbours"):
        graph.load_state_dict(state)
