"""The commit of the project that a folder belongs to."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def git_commit(folder: Path) -> str:
    """The full hash of the checked-out commit; empty without git or outside a repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(
            [git, "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
