"""Read named tensors from a file, without running any code in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from avsep.torch_file import CompressedError, check_not_compressed


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a torch file that holds only tensors.

    A torch file may hold the state dict itself, or a dict with one under `state_dict`.

    Raises:
        ValueError: the file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing or not a file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        check_not_compressed(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except CompressedError as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from error
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package safetensors: pip install safetensors."
        ) from error
    except Exception as error:  # the readers' own errors have no common base
        raise ValueError(
            f"{path} cannot be read as weights: it is damaged or holds more than tensors"
            " (code in a file is never run); download it again."
        ) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise ValueError(f"{path} does not hold a state dict of tensors.")
    return dict(loaded)
