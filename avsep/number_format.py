"""How a GPU computes products of float32 numbers."""

from __future__ import annotations


def set_tf32(precision: str, device_type: str) -> None:
    """Allow TF32 for the float32 products of this process on a GPU, in all formats but fp32.

    TF32 keeps 10 bits of the mantissa. PyTorch itself allows it for convolutions alone. CPUs are
    left as they are.

    Args:
        precision: the setting; `fp32` computes in full float32.
        device_type: `cpu` or `cuda`.
    """
    import torch

    if device_type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
