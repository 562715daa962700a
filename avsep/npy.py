"""Arrays in numpy's own format from bytes of others: nothing is reserved that is not there."""

from __future__ import annotations

import io
import math
import tokenize
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of an npy file, as an array of its own.

    Raises:
        ValueError: the file is damaged, its size is not that of its shape, or it holds objects,
            which could be anything.
    """
    buffer = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(buffer)
        if version not in _READERS:
            raise ValueError(f"it has version {version} of the format")
        shape, by_columns, kind = _READERS[version](buffer)
    except (
        # MemoryError: of Python's parser, where brackets or signs are too deep for it.
        SyntaxError, TypeError, EOFError, RecursionError, MemoryError, tokenize.TokenError,
    ) as error:  # fmt: skip
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    if kind.hasobject:
        raise ValueError("Object arrays are not allowed")
    if min(shape, default=0) < 0:
        raise ValueError(f"it has the shape {shape}")
    if math.prod(shape) * kind.itemsize != len(content) - buffer.tell():
        raise ValueError(f"its size is not that of {kind} of shape {shape}")
    values = np.frombuffer(content, kind, offset=buffer.tell())
    return values.reshape(shape, order="F" if by_columns else "C").copy()
