"""Compare the locked packages with the holes that are known; `make audit`.

    python -m tools.audit PIP_AUDIT

PIP_AUDIT is that program, in an environment of its own. It asks the package index about each pinned
version of requirements/constraints.txt, and installs nothing. Exits with 1 where a hole is known,
and where the index cannot be asked, which it says in one sentence.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "requirements" / "constraints.txt"
# What pip-audit ends with when nobody answers; its own text is a page of Python.
UNREACHED = ("ConnectionError", "NameResolutionError", "Max retries", "Could not connect")


def main(program: str, pins: Path = PINS) -> int:
    """Run pip-audit; its exit code."""
    # Strict: a package that the index says nothing of has not been looked at.
    options = ["--strict", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    command = [program, *options, "-r", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in UNREACHED):
        sys.exit("avsep: nothing was audited: the package index cannot be reached.")
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
