"""The memory of a decode worker of `extract` over many clips.

    python tests/scenarios/worker_memory.py [--clips 500] [--engine litert] [--frames 26]

Prints the resident memory after some of the clips, in MiB. With `--engine torch` the networks run
in an engine on the CPU, so that the worker has none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.worker_memory import memory_of_worker


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--engine", choices=["litert", "openvino", "torch"], default="litert")
    parser.add_argument("--frames", type=int, default=26)
    parser.add_argument("--height", type=int, default=224)
    given = parser.parse_args()
    options = {"engine": given.engine} | ({"device": "cpu"} if given.engine == "torch" else {})
    with tempfile.TemporaryDirectory() as folder:
        sizes = memory_of_worker(
            Path(folder), given.clips, options, frames=given.frames, height=given.height
        )
    shown = sorted({0, *range(9, len(sizes), max(10, len(sizes) // 10)), len(sizes) - 1})
    for number in shown:
        now, peak = (size / 2**20 for size in sizes[number])
        print(f"after {number + 1:4} clips: {now:.0f} MiB, at most {peak:.0f} MiB")


if __name__ == "__main__":
    main()
