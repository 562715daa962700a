"""The kernels read float32: other formats never reach them, and are refused if they do."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from avsep.models.dolphin import blocks, injection
from avsep.models.dolphin.blocks import LocalBlock
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.injection import InjectionMultiSum
from avsep.models.dolphin.sequence import TimeBatchNorm
from avsep.models.gpu import block_ops, channel_ops, layers, ops, row_ops, vovit_ops

X = torch.zeros(1, 8, 4)
W = torch.zeros(4, 3)
N = torch.tensor(0)
CALLS = {
    "depthwise": (ops.depthwise_into, (X, W, None, X, 1, False, False)),
    "depthwise_input_grad": (ops.depthwise_input_grad, (X, W, 8, 1, 4)),
    "depthwise_weight_grad": (ops.depthwise_weight_grad, (X, X, 3, 1)),
    "blur_taps": (ops.blur_taps, (W[:, 0], 2, False)),
    "moments": (ops.moments, (X,)),
    "normalise": (ops.normalise, (X, X, W, W, 1e-5, None, False, None, X)),
    "normalise_sums": (ops.normalise_sums, (X, X, W)),
    "normalise_grad": (ops.normalise_grad, (X, X, W, W, W)),
    "norm_gate": (ops.norm_gate, (X, X, W, W, 1e-5)),
    "norm_gate_grad": (ops.norm_gate_grad, (X, X, W, W, X, X, 1e-5)),
    "attention": (ops.attention, (X, X, X, None, 2)),
    "blur_k_grad": (ops.blur_k_grad, (X, X, W)),
    "position_bias": (block_ops.position_bias, (X[None], W)),
    "position_bias_query_grad": (block_ops.position_bias_query_grad, (X[None], W)),
    "position_bias_table_grad": (block_ops.position_bias_table_grad, (X[None], X[None])),
    "gate_add": (block_ops.gate_add, (X, X, X)),
    "gate_add_grad": (block_ops.gate_add_grad, (X, X, X)),
    "inject": (block_ops.inject, (X, X, X)),
    "mix_glu": (block_ops.mix_glu, (X, W, W)),
    "context_gate": (block_ops.context_gate, (X, W, W, W, W, W, W)),
    "add_norm": (row_ops.add_norm, (W, W, W, W, W, W, W, W, 1e-5, None, 0, 0.0)),
    "add_norm_grad": (row_ops.add_norm_grad, (W, W, W, W, W, 1e-5, None, 0, 0.0)),
    "gelu_drop": (row_ops.gelu_drop, (W, W, None, 0, 0.0)),
    "gelu_drop_grad": (row_ops.gelu_drop_grad, (W, W, W, None, 0, 0.0)),
    "linear_act": (row_ops.linear_act, (W, W, W[:, 0], None)),
    "norm_act": (channel_ops.norm_act_by, (W, W, W, W, W, W, W, 1e-5, 0.1)),
    "channel_moments": (channel_ops.channel_moments, (W,)),
    "batch_norm_act": (channel_ops.batch_norm_act, (W, W, W, W, W, W, W, W, N, 1e-5, 0.1, 0.1)),
    "batch_norm_sums": (channel_ops.batch_norm_sums, (W, W, W, W, W, W, 0.1)),
    "batch_norm_grad": (channel_ops.batch_norm_grad, (W, W, W, W, W, W, W, 0.1)),
    "graph_mix": (vovit_ops.graph_mix, (X, X, X, W, W, W, W, 1e-5)),
    "graph_mix_grad": (vovit_ops.graph_mix_grad, (X, X, X)),
    "graph_importance_grad": (vovit_ops.graph_importance_grad, (X, X, X)),
    "join_features": (vovit_ops.join_features, (X[None], X[None])),
    "join_features_grad": (vovit_ops.join_features_grad, (X, 1, 1, 1)),
    "add_positions": (vovit_ops.add_positions, (X, W, W, 0.1)),
    "add_positions_grad": (vovit_ops.add_positions_grad, (X, X, X, 0.1)),
    "windows": (vovit_ops.windows, (W, 4, 2, 1.0)),
    "overlap_add": (vovit_ops.overlap_add, (X, 2, 8)),
    "apply_mask": (vovit_ops.apply_mask, (X, X[..., None], 2.0)),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_operation_refuses_each_input_of_another_format(name):
    call, values = CALLS[name]
    for number, value in enumerate(values):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            wrong = [v.clone() if isinstance(v, torch.Tensor) else v for v in values]
            wrong[number] = value.bfloat16()
            with pytest.raises(AssertionError, match=r"read float32, not torch\.bfloat16"):
                call(*wrong)


@pytest.fixture
def gpu_like(monkeypatch):
    """The CPU passes for a GPU whose norms work; its other kernels must not be reached."""
    monkeypatch.setattr(ops, "usable", lambda x: x.dtype == torch.float32)
    monkeypatch.setattr(
        layers, "global_norm", lambda x, w, b, eps: torch.addcmul(b, (x - x.mean()) / x.std(), w)
    )
    for module, name in (
        (layers, "global_norm_then"), (layers, "depthwise"), (blocks.block_ops, "mix_glu"),
        (injection.block_ops, "inject"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a kernel runs"))


@torch.no_grad()
def test_under_autocast_a_local_block_computes_without_kernels(gpu_like):
    block = LocalBlock(DolphinConfig.demo()).eval()
    x = torch.randn(1, 40, DolphinConfig.demo().channels)
    with torch.autocast("cpu", torch.bfloat16):
        assert block(x).shape == x.shape


@torch.no_grad()
def test_under_autocast_an_injection_looks_at_its_parts(gpu_like, monkeypatch):
    layer = InjectionMultiSum(8, TimeBatchNorm, "auto", carry_unused=False).eval()
    local, outer = torch.randn(1, 40, 8), torch.randn(1, 20, 8)
    layer.gate.norm = torch.nn.Identity()  # leaves the gate in bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(local, outer).shape == local.shape


@torch.no_grad()
def test_a_norm_and_what_follows_it_are_computed_in_float32(monkeypatch):
    seen = []
    monkeypatch.setattr(ops, "moments", lambda x: seen.append(x.dtype))
    monkeypatch.setattr(
        ops, "normalise", lambda *tensors: seen.extend([tensors[0].dtype, tensors[-1].dtype]) or [0]
    )
    x = X.bfloat16()
    layers.global_norm_then(x, W[:, 0], W[:, 0], 1e-5, residual=x)
    assert seen == [torch.float32] * 3


def on_a_gpu():
    return SimpleNamespace(
        dtype=torch.float32, is_meta=False, is_cuda=True, is_cpu=False, device=torch.device("cpu")
    )


@pytest.fixture
def triton_is_there(monkeypatch):
    monkeypatch.setattr(ops, "HAS_TRITON", True)
    ops._launches.cache_clear()
    yield
    ops._launches.cache_clear()


def test_where_triton_cannot_launch_one_warning_says_so(triton_is_there, monkeypatch):
    def fail(_):
        raise RuntimeError("Failed to find C compiler.\nmore")

    monkeypatch.setattr(ops, "moments", fail)
    with pytest.warns(UserWarning, match=r"Triton does not work .*C compiler\.\).*AVSEP_TRITON=0"):
        assert not ops.usable(on_a_gpu())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not ops.usable(on_a_gpu())


def test_where_triton_launches_it_is_tried_once(triton_is_there, monkeypatch):
    tried = []
    monkeypatch.setattr(ops, "moments", tried.append)
    assert ops.usable(on_a_gpu())
    assert ops.usable(on_a_gpu())
    assert len(tried) == 1
    monkeypatch.setattr(ops, "WANTED", False)
    assert not ops.usable(on_a_gpu())
    assert not ops.usable(X.to("meta"))


@pytest.mark.slow
def test_a_variable_switches_the_kernels_off():
    code = "from avsep.models.gpu import ops; print(ops.WANTED)"
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"AVSEP_TRITON": "0"}, text=True,
        capture_output=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert said.stdout == "False\n"
