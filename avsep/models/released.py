"""What the importers of released checkpoints share.

The official names are matched strictly and the values kept; the result is a safetensors file with a
card that says where the weights are from, see `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.files import sha256_file


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn the ValueError of a bad file into a CheckError: the program is not at fault."""
    try:
        yield
    except ValueError as error:
        raise CheckError(str(error)) from error


def described(part: str, path: Path) -> dict[str, Any]:
    """The entry of a source file in a card."""
    return {
        "part": part,
        "name": path.name,
        "sha256": sha256_file(path),
        "size_bytes": path.stat().st_size,
    }
