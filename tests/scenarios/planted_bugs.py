# ruff: noqa: E501
"""Plant ten bugs, one at a time, in a copy of the code; the tests beside it must catch each.

    python -m tests.scenarios.planted_bugs

Prints one line per bug; exits 1 where one is not caught, or where its line is no longer there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where, what is written there, what is planted, and the tests that must fail.
BUGS = """
avsep/files.py | temporary.unlink(missing_ok=True) | pass | tests/test_files.py
avsep/files.py | name in ("", ".", "..") | name in ("",) | tests/security/test_paths_of_exports.py
avsep/errors.py | (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) | () | tests/faults/test_disk.py
avsep/settings.py | not math.isfinite(value) | False | tests/security/test_settings_files.py
avsep/shards/tar.py | tarfile.AREGTYPE) | tarfile.AREGTYPE, b"S") | tests/security/test_tar_headers.py
avsep/mixing/render.py | (gain_db / 20) | (gain_db / 10) | tests/mixing/test_render.py
pipeline/execution/ledger.py | items.attempts + | 0 + | tests/execution/test_ledger.py
pipeline/execution/ledger.py | OR state != | OR state = | tests/execution/test_ledger_commands.py
pipeline/execution/markers.py | != batch.settings: | == 1: | tests/execution/test_markers.py
pipeline/execution/turn.py | shared=bool(model) | shared=True | tests/execution/test_turn.py
"""


def caught(file: str, old: str, new: str, tests: str) -> str:
    """`caught`, or what went wrong."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "copy"
        kept = shutil.ignore_patterns(".git", ".venv", "data", "__pycache__", ".work")
        shutil.copytree(ROOT, copy, ignore=kept)
        path = copy / file
        text = path.read_text("utf-8")
        if old not in text:
            return f"{old!r} is not in {file} any more"
        path.write_text(text.replace(old, new), "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
             "-m", "not slow", tests],
            cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, check=False,
        )  # fmt: skip
        return (
            "caught" if done.returncode == 1 else f"NOT CAUGHT (pytest ends with {done.returncode})"
        )


def main() -> int:
    """Plant all bugs."""
    failed = 0
    for line in BUGS.strip().splitlines():
        said = caught(*line.split(" | "))
        print(f"{line}: {said}", flush=True)
        failed += said != "caught"
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
