"""What made the figures: versions of tools, and the commit of the code."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from avsep import __version__

PACKAGES = (
    *("torch", "lightning", "torchmetrics", "numpy", "scipy", "pesq", "pystoi"),
    *("av", "soundfile", "ai-edge-litert", "webdataset", "prefect", "dvc"),
)
GIT_TIMEOUT_S = 10.0


def versions() -> list[tuple[str, str]]:
    """Name and version of avsep, Python and the packages that matter, where installed."""
    found = [("avsep", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(root: Path) -> str:
    """The commit of the project folder; empty where it is no git repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(
            [git, "-C", str(root), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
