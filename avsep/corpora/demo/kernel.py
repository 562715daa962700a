"""Compilation of the inner loops to machine code, with a cache that is never required."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., object])

# No fast-math: the same numbers on every processor.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # no branch before each division
    # Kernels allocate nothing, so arrays need no reference counts, which cost half of the time.
    "_nrt": False,
}


def kernel(function: F) -> F:
    """Compile `function` by numba, keeping the machine code on disk where that is possible.

    The cache lies beside the module, else in the user's cache folder. On a read-only machine
    with neither, numba refuses to cache; then the code is compiled anew in each process, which
    costs some seconds and nothing else.
    """
    import numba

    try:
        return cast("F", numba.njit(cache=True, **_OPTIONS)(function))
    except RuntimeError:  # "cannot cache function ...: no locator available"
        return cast("F", numba.njit(**_OPTIONS)(function))
