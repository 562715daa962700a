"""Measure what each stage costs per row: seconds, processor seconds and memory, by number of rows.

Each step runs in a child process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from avsep.bench.text import markdown
from avsep.errors import CheckError, UsageError
from avsep.workspace import Workspace

COLUMNS = {
    "step": "step",
    "rows": "rows",
    "seconds": "seconds",
    "cpu_s": "CPU s",
    "us_per_row": "CPU us per row",
    "peak_mb": "peak memory, MB",
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one step took.

    Attributes:
        step: name of the step.
        rows: number of rows of the project.
        seconds: wall time, without the start of Python.
        cpu_s: processor time of the process and its children, without the start of Python.
        peak_mb: peak memory of the process, all of it, in MB.
    """

    step: str
    rows: int
    seconds: float
    cpu_s: float
    peak_mb: float

    @property
    def us_per_row(self) -> float:
        """Processor time per row, in microseconds."""
        return 1e6 * self.cpu_s / self.rows


def bench_tables(
    rows: Sequence[int],
    steps: Sequence[str] = (),
    *,
    folder: Path | None = None,
    announce: Callable[[str], None],
) -> list[Figures]:
    """Measure steps on synthetic projects.

    Args:
        rows: sizes of the projects.
        steps: names of steps; all of them when empty.
        folder: where the projects are written; a temporary folder when None.
        announce: told what begins.

    Raises:
        UsageError: there is no such step, or a size below 2.
        CheckError: a step failed.
    """
    from pipeline.bench.project import write_project
    from pipeline.bench.steps import STEPS

    if unknown := [step for step in steps if step not in STEPS]:
        raise UsageError(f"there is no step {unknown[0]!r}; the steps are {', '.join(STEPS)}.")
    if wrong := [count for count in rows if count < 2]:
        raise UsageError(f"{wrong[0]} is too few rows; take 2 or more.")
    figures = []
    for count in rows:
        with tempfile.TemporaryDirectory(prefix="avsep-bench-", dir=folder) as name:
            announce(f"writing a project of {count:,} rows")
            workspace = write_project(Path(name) / "project", count)
            for step in steps or STEPS:
                announce(f"{step}, {count:,} rows")
                figures.append(_in_child(step, workspace, count))
    return figures


def table(figures: Sequence[Figures]) -> str:
    """The figures as a Markdown table, by step."""
    order = list(dict.fromkeys(one.step for one in figures))
    ranked = sorted(figures, key=lambda one: (order.index(one.step), one.rows))
    return markdown(COLUMNS, [asdict(one) | {"us_per_row": one.us_per_row} for one in ranked])


def _in_child(step: str, workspace: Workspace, rows: int) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", __name__, step, str(workspace.root)],
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise CheckError(f"the step {step!r} failed on {rows} rows; see above.")
    return Figures(step=step, rows=rows, **json.loads(done.stdout.splitlines()[-1]))


def _measure(step: str, root: Path) -> dict[str, float]:
    from pipeline.bench.steps import STEPS

    wall, cpu = time.perf_counter(), time.process_time()
    STEPS[step](Workspace(root))
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    # Not `getrusage`: its figure counts the process that has started this one.
    status = Path("/proc/self/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
