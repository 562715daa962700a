"""Compile the inner loops to machine code, with an optional cache on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., object])

# No fast-math, so that every processor computes the same numbers.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # no branch before each division
    # Kernels allocate nothing, so arrays need no reference counts; these would take half the time.
    "_nrt": False,
}


def kernel(function: F) -> F:
    """Compile `function` with numba and cache the machine code on disk if possible.

    The cache is beside the module, or else in the user's cache folder. If neither is writable,
    numba refuses to cache, and each process compiles the code again, which takes some seconds.
    """
    import numba

    try:
        return cast("F", numba.njit(cache=True, **_OPTIONS)(function))
    except RuntimeError:  # "cannot cache function ...: no locator available"
        return cast("F", numba.njit(**_OPTIONS)(function))
