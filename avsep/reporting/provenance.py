"""The versions of the tools that made the figures."""

from __future__ import annotations

import platform
from importlib import metadata

from avsep import __version__

PACKAGES = (
    *("torch", "lightning", "torchmetrics", "numpy", "scipy", "pesq", "pystoi"),
    *("av", "soundfile", "ai-edge-litert", "webdataset", "prefect", "dvc"),
)


def versions() -> list[tuple[str, str]]:
    """Name and version of avsep, Python and the packages that matter, where installed."""
    found = [("avsep", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found
