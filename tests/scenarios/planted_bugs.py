# ruff: noqa: E501
"""Plant twenty bugs, one at a time, in a copy of the code; the tests beside it must catch each.

    python -m tests.scenarios.planted_bugs [avsep/mixing]

Prints one line per bug; exits 1 where one is not caught, or where its line is no longer there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where, what is written there, what is planted, and the tests that must fail. The second ten are
# of the reader, the mixer, the markers, the ledger and of resuming.
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
avsep/shards/store.py | if last != key: | if not last: | tests/shards/test_shard_reader.py
avsep/shards/windows.py | count, left) | count, left + start) | tests/shards/test_shard_windows.py
avsep/mixing/render.py | math.floor(limit | math.ceil(limit | tests/mixing/test_render.py
avsep/mixing/render.py | or pcm_sha256(excerpt) != recipe.noise.sha256 | | tests/mixing/test_noise.py
pipeline/execution/markers.py | if len(outcomes) == len(batch.items) | if outcomes | tests/stages/test_clean.py
pipeline/execution/markers.py | outcome.state is not State.FAILED | outcome.state is State.DONE | tests/execution/test_markers.py
pipeline/execution/ledger.py | THEN items.sha256 ELSE | THEN excluded.sha256 ELSE | tests/execution/test_ledger.py
avsep/training/checkpoints.py | path.name == LAST and | path.name == BEST and | tests/training/test_fit.py
avsep/training/fit.py | position=lambda: task.steps_done | position=lambda: 0 | tests/training/test_fit.py
avsep/loading/sampler.py | (first // self._steps + 1) | (first // self._steps + 2) | tests/loading/test_sampler.py
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
        for marked in ("not slow", "slow"):
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                 "-m", marked, tests],
                cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True,
                check=False,
            )  # fmt: skip
            if done.returncode == 1:
                return "caught"
        return f"NOT CAUGHT (pytest ends with {done.returncode})"


def main() -> int:
    """Plant all bugs, or those whose lines hold the first argument."""
    failed = 0
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    for line in filter(lambda line: wanted in line, BUGS.strip().splitlines()):
        said = caught(*(part.strip() for part in line.split("|")))
        print(f"{line}: {said}", flush=True)
        failed += said != "caught"
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
