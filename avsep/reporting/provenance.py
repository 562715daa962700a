"""The versions of the packages that the results were computed with."""

from __future__ import annotations

import platform
from importlib import metadata

from avsep import __version__

PACKAGES = (
    *("torch", "lightning", "torchmetrics", "numpy", "scipy", "pesq", "pystoi"),
    *("av", "soundfile", "ai-edge-litert", "webdataset", "prefect", "dvc"),
)


def versions() -> list[tuple[str, str]]:
    """Name and version of avsep, of Python and of each installed package in `PACKAGES`."""
    found = [("avsep", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found
