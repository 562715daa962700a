"""Compile the Triton kernels for GPUs without one; run as a script with a compute capability.

The interpreter accepts what the compiler does not. Each operation is called on the CPU, and what it
would launch is compiled instead.
"""

import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.runtime.jit import JITFunction

from avsep.models.gpu import channel_ops, layers, row_ops, vovit_ops
from tests.models.test_gpu_formats import CALLS, W, X

SEED = torch.tensor(0)
LINE = W[:, 0]
# Beside the calls that each operation has there: the other branches of the kernels.
FURTHER = [
    lambda: layers._depthwise(X, W[:, None], LINE, mirror=True, gelu=True),
    lambda: layers.global_norm_then(X, LINE, LINE, 1e-5, gelu=True),
    lambda: layers.global_norm_then(X, LINE, LINE, 1e-5, slope=LINE, scale=LINE, residual=X),
    lambda: layers.ops.blur_taps(LINE, 2, True),
    lambda: layers.ops.attention(X, X, X, W, 2),
    lambda: row_ops.add_norm(W, W, W, W, None, None, W, W, 1e-5, SEED, 1, 0.3),
    lambda: row_ops.add_norm(W, None, W, W, None, None, None, W, 1e-5, None, 0, 0.0),
    lambda: row_ops.add_norm_grad(W, W, W, W, W, 1e-5, SEED, 1, 0.3),
    lambda: row_ops.add_norm_grad(W, W, W, None, W, 1e-5, None, 0, 0.0),
    lambda: row_ops.gelu_drop(W, W, SEED, 1, 0.3),
    lambda: row_ops.gelu_drop_grad(W, W, W, SEED, 1, 0.3),
    lambda: row_ops.linear_act(W, W, LINE, 0.5),
    lambda: channel_ops.norm_act_by(W, None, W, W, W, W, None, 1e-5, 0.1),
    lambda: channel_ops.batch_norm_act(W, W, None, W, W, None, W, W, SEED, 1e-5, 0.1, 0.1),
    lambda: channel_ops.batch_norm_sums(W, W, None, W, W, W, 0.1),
    lambda: channel_ops.batch_norm_grad(W, W, None, W, W, W, W, 0.1),
    lambda: vovit_ops.graph_mix(X, X, X, None, None, None, None, 0.0),
]
TYPES = {torch.float32: "*fp32", torch.int64: "*i64"}
done = set()


def kind(value):
    if isinstance(value, torch.Tensor):
        return TYPES[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def compile_only(self, *values, grid, warmup, **named):
    names = dict(zip(self.arg_names, values, strict=False)) | named
    constants = {p.name: names[p.name] for p in self.params if p.is_constexpr}
    signature = {n: "constexpr" if n in constants else kind(names[n]) for n in self.arg_names}
    key = (self.__name__, *signature.items(), *constants.items())
    if key not in done:
        done.add(key)
        places = {(self.arg_names.index(name),): value for name, value in constants.items()}
        compile(ASTSource(self, signature, places), target=GPUTarget("cuda", CAPABILITY, 32))


if __name__ == "__main__":
    CAPABILITY = int(sys.argv[1])
    JITFunction.run = compile_only
    for call, values in CALLS.values():
        call(*values)
    for call in FURTHER:
        call()
    kernels = {
        name
        for module in (
            sys.modules[f"avsep.models.gpu.{part}"]
            for part in ("kernels", "block_kernels", "row_kernels", "channel_kernels",
                         "vovit_kernels")
        )
        for name, value in vars(module).items()
        if isinstance(value, JITFunction)
    }  # fmt: skip
    helpers = {"gelu", "mirrored", "dropped", "normed_rows", "behind_act", "hann"}
    missing = kernels - helpers - {key[0] for key in done}
    assert not missing, f"no call compiles {missing}"
    print(len(done), "compiled")
