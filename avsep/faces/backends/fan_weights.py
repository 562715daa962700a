"""Find, check and load the weights of face-alignment's networks; nothing is downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avsep.errors import UsageError
from avsep.files import expand_home, sha256_file

S3FD = "s3fd-619a316812.pth"
FAN_2D = "2DFAN4-11f355bf06.pth.tar"
FAN_3D = "3DFAN4-7835d9f11d.pth.tar"
DEPTH = "depth-2a464da4ea.pth.tar"
SOURCE = "https://www.adrianbulat.com/downloads/python-fan/"

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


def weight_names(three_d: bool) -> list[str]:
    """File names of the detector, the landmark network and, in three dimensions, depth."""
    return [S3FD, FAN_3D, DEPTH] if three_d else [S3FD, FAN_2D]


def weights_folder(folder: str = "") -> Path:
    """The folder of the weights: `folder`, or else where PyTorch's hub keeps its checkpoints."""
    if folder:
        return expand_home(folder)
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return expand_home(home) / "hub" / "checkpoints"


def find_weights(names: Sequence[str], folder: str = "") -> list[Path]:
    """Find weight files and check each against the start of its sha256 in its name.

    Args:
        names: file names.
        folder: folder of the files, see `weights_folder`.

    Raises:
        UsageError: a file is missing, or its sha256 does not match its name.
    """
    place = weights_folder(folder)
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise UsageError(
            f"the face backend face_alignment lacks {', '.join(missing)} in {place}; download them"
            f" from {SOURCE} into that folder, or set the option weights to their folder."
        )
    paths = [place / name for name in names]
    for path in paths:
        match = _HASH_IN_NAME.search(path.name)
        digest = sha256_file(path)
        if match is None or not digest.startswith(match[1]):
            raise UsageError(
                f"{path} is damaged or another file: its sha256 starts with {digest[:10]}, unlike"
                " its name; download it again."
            )
    return paths


def load_state(path: Path, device: str) -> dict[str, Any]:
    """The state of a network, read without running code from the file.

    Raises:
        UsageError: the file contains more than tensors and plain values.
    """
    import pickle

    import torch

    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} cannot be read as plain weights: {reason}") from error
    state = state.get("state_dict", state)
    return {key.removeprefix("module."): value for key, value in state.items()}
