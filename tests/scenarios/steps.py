"""What the scenarios share: commands that are shown, promises that are held, copies of projects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEYS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def environment(folder: Path) -> dict[str, str]:
    """The environment of a command in a project: its own code, this interpreter's programs."""
    values = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | KEYS
    values["PATH"] = f"{Path(sys.executable).parent}:{values['PATH']}"
    values["PYTHONPATH"] = str(folder)  # before any installed copy of the project
    return values


def run(folder: Path, *words: str, **more: str) -> str:
    """Run a command, print it with its time; its output. Ends the scenario where it fails.

    Args:
        folder: to run it in.
        words: the command.
        more: variables of its environment.
    """
    started, before = time.monotonic(), os.times()
    done = subprocess.run(
        words, cwd=folder, env=environment(folder) | more, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    seconds, after = time.monotonic() - started, os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    print(f"{seconds:6.1f} s, CPU {used:5.1f} s  {folder.name}$ {' '.join(words)}", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def say(promise: str, holds: bool) -> None:
    """Print a promise, and end where it does not hold."""
    print(f"{'holds' if holds else 'BROKEN'}: {promise}", flush=True)
    if not holds:
        sys.exit(1)


def commit(folder: Path, message: str) -> None:
    """Commit all of a repository."""
    run(folder, "git", "add", "-A")
    who = ("-c", "user.name=scenario", "-c", "user.email=scenario@localhost")
    run(folder, "git", *who, "commit", "-q", "-m", message)


def copy_finished(project: Path, lab: Path) -> None:
    """Copy a project in which `dvc repro` has run, without raw clips, as a repository of its own.

    What its stages made is taken for what its code and settings make.
    """
    names = ("raw", ".work", ".git", "cache", "tmp", "config.local", ".venv", "__pycache__")
    shutil.copytree(project, lab, ignore=shutil.ignore_patterns(*names))
    run(lab, "git", "init", "-q")
    run(lab, "dvc", "commit", "--force", "-q")
