"""Compare the packages pinned for pip with the known vulnerabilities; `make audit`.

    python -m tools.audit PIP_AUDIT

PIP_AUDIT is that program, in an environment of its own. It asks the package index about each pinned
version of requirements/constraints.txt, and installs nothing. Exits with 1 where a vulnerability is
known, and where the index cannot be asked, which it says in one sentence.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "requirements" / "constraints.txt"
# What pip-audit writes when nobody answers, which is a page of Python, and when a mirror answers
# that has the packages but not what is known of them.
NOT_AUDITED = {
    "ConnectionError": "the package index cannot be reached",
    "NameResolutionError": "the package index cannot be reached",
    "Max retries": "the package index cannot be reached",
    "could not be audited": "the package index here knows no vulnerabilities, as many mirrors",
}


def main(program: str, pins: Path = PINS) -> int:
    """Run pip-audit; its exit code."""
    # Strict: a package that the index says nothing of has not been looked at.
    options = ["--strict", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    command = [program, *options, "-r", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for words, why in NOT_AUDITED.items():
        if done.returncode and words in done.stderr:
            sys.exit(f"avsep: the packages were not audited: {why}.")
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
