"""The weights of face-alignment's networks: found on disk, checked, loaded; never downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avsep.errors import UsageError
from avsep.files import sha256_file

S3FD = "s3fd-619a316812.pth"
FAN_2D = "2DFAN4-11f355bf06.pth.tar"
FAN_3D = "3DFAN4-7835d9f11d.pth.tar"
DEPTH = "depth-2a464da4ea.pth.tar"
SOURCE = "https://www.adrianbulat.com/downloads/python-fan/"

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


def weights_folder(folder: str = "") -> Path:
    """Where the weights should lie: `folder`, else where PyTorch's hub keeps its checkpoints."""
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def find_weights(names: Sequence[str], folder: str = "") -> list[Path]:
    """The files of the networks, each checked against the sha256 that begins in its name.

    Args:
        names: file names.
        folder: where they lie; see `weights_folder`.

    Raises:
        UsageError: files are missing, or one is not what its name says.
    """
    place = weights_folder(folder)
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise UsageError(
            f"the face backend face_alignment lacks {', '.join(missing)} in {place}; fetch them"
            f" from {SOURCE} and put them there, or name their folder with the option weights."
        )
    paths = [place / name for name in names]
    for path in paths:
        match = _HASH_IN_NAME.search(path.name)
        digest = sha256_file(path)
        if match is None or not digest.startswith(match[1]):
            raise UsageError(
                f"{path} is damaged or another file: its sha256 begins with {digest[:10]}, not as"
                " its name says; fetch it again."
            )
    return paths


def load_state(path: Path, device: str) -> dict[str, Any]:
    """The state of a network, read without running any code of the file.

    Raises:
        UsageError: the file holds more than tensors and plain values.
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
