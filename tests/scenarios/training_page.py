"""Run the commands of docs/training.md, in their order, in a project with tiny models.

    python -m tests.scenarios.training_page

Two machines are two torchruns here, and two tasks of Slurm two processes with its variables.
Left out are what downloads, and the trainings at the published scale. Prints one line per command.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.stages.test_train_stage import PARAMS
from tests.support.synthetic_workspace import make_workspace
from tests.test_docs_commands import ROOT, commands

LEFT_OUT = ("pip install", "avsep weights get", "avsep profile use", "avsep run mix")
HERE = {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
LIMIT_S = 600
NODES = 2


def start(words, root, more=None):
    return subprocess.Popen(
        words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | HERE | (more or {}),
    )  # fmt: skip


def finish(processes):
    said = [process.communicate(timeout=LIMIT_S)[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("\n".join(said))
    return said


def two_torchruns(words, roots):
    """The command on the first machine and, with another rank, on the second."""
    here = " ".join(words).replace("--nproc-per-node 4", "--nproc-per-node 1")
    here = here.replace("--master-addr node0", "--master-addr 127.0.0.1")
    runs = [here, here.replace("--node-rank 0", "--node-rank 1")]
    return [
        start([sys.executable, "-m", "torch.distributed.run", *run.split()[1:]], root)
        for run, root in zip(runs, roots, strict=True)
    ]


def two_tasks(words, roots):
    """What srun starts, with the variables that it sets."""
    command = [sys.executable, *words[words.index("python") + 1 :]]
    job = {
        "SLURM_STEP_NUM_TASKS": str(NODES), "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_JOB_ID": "23",
    }  # fmt: skip
    return [
        start(command, root, job | {"SLURM_PROCID": str(i), "SLURM_NODEID": str(i)})
        for i, root in enumerate(roots)
    ]


def main():
    with tempfile.TemporaryDirectory() as folder:
        roots = [Path(folder) / f"machine{i}" for i in range(NODES)]
        for root in roots:
            make_workspace(root)
            values = yaml.safe_load(yaml.safe_dump(PARAMS))
            (root / "params.yaml").write_text(yaml.safe_dump(values))
        for words in commands(ROOT / "docs" / "training.md"):
            text = " ".join(words)
            if text.startswith(LEFT_OUT):
                print(f"left out  {text}")
                continue
            started = time.monotonic()
            if words[0] == "avsep":
                finish([start([sys.executable, "-m", *words], roots[0])])
            else:  # begins again: it is trained already
                values["train"] |= {"devices": NODES, "seed": values["train"].get("seed", 0) + 1}
                for root in roots:
                    (root / "params.yaml").write_text(yaml.safe_dump(values))
                subprocess.run(
                    ["cp", "-r", lipcoder(roots[0]), lipcoder(roots[1]).parent], check=True
                )
                move_aside(roots[0])
                run = two_torchruns if words[0] == "torchrun" else two_tasks
                finish(run(list(words), roots))
                done = ["avsep", "run", "train", "--model", "dolphin"]
                (said,) = finish([start([sys.executable, "-m", *done], roots[0])])
                assert "train loss" not in said, "it was trained again"
            print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)


def lipcoder(root):
    return root / "data" / "lipcoder"


def move_aside(root):
    (root / "data" / ".work" / "train" / "dolphin").rename(root / f"dolphin.old-{time.time_ns()}")


if __name__ == "__main__":
    main()
