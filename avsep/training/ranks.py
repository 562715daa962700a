"""Which rank this process is, from the variables of what started it. Light: no torch in here."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from avsep.errors import CheckError

BASE_PORT = 15_000
MEETING = "AVSEP_RANKS_MEET"  # the file by which the ranks of one machine find each other


def rank_and_ranks() -> tuple[int, int]:
    """This process's rank and the number of ranks, from what torchrun sets."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def ranks_here() -> int:
    """The number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def torchrun_process() -> int:
    """The id of the torchrun that started this process; 0 if none did."""
    return os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else 0


def take_ranks_of_slurm(environ: MutableMapping[str, str] = os.environ) -> None:
    """Translate what Slurm's `srun` sets into the variables of torchrun, unless those are set.

    A script of `sbatch` is one process, whatever number of tasks its job may start.

    Raises:
        CheckError: the nodes have unequal numbers of tasks, or Slurm does not name the nodes.
    """
    tasks = environ.get("SLURM_STEP_NUM_TASKS")  # of `srun`; SLURM_NTASKS is the whole job's
    if "RANK" in environ or "SLURM_PROCID" not in environ or not tasks:
        return
    here = _tasks_per_node(environ, int(tasks))
    node = environ.get("SLURM_NODEID", "0")
    translated = {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environ.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": str(here),
        "NODE_RANK": node,
        "GROUP_RANK": node,
    }
    environ.update(translated)
    if tasks == "1":
        return
    environ.setdefault("MASTER_ADDR", _first_node(environ))
    job = int(environ.get("SLURM_JOB_ID", "0")) + int(environ.get("SLURM_STEP_ID", "0"))
    environ.setdefault("MASTER_PORT", str(BASE_PORT + job % 10_000))


def _tasks_per_node(environ: MutableMapping[str, str], tasks: int) -> int:
    text = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE")
    if text is None:
        text = environ.get("SLURM_NTASKS_PER_NODE", str(tasks))
    counts = {int(re.sub(r"\(x\d+\)$", "", part)) for part in text.split(",")}  # e.g. 2(x3),1
    if len(counts) > 1:
        raise CheckError(
            f"Slurm has started unequal numbers of tasks on the nodes ({text}); set"
            " --ntasks-per-node."
        )
    return counts.pop()


def _first_node(environ: MutableMapping[str, str]) -> str:
    names = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    listed = next((environ[name] for name in names if environ.get(name)), None)
    if listed is None:
        raise CheckError(
            "Slurm does not name the nodes (SLURM_JOB_NODELIST); set MASTER_ADDR to the address of"
            " the first one."
        )
    # The first name of a list such as gpu[03-05,7],big1.
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", listed)
    assert found is not None
    return found[1] + (found[2] or "")
