"""A training that is killed, in whatever way, ends at once and goes on by the same command."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from avsep.errors import CheckError
from avsep.training.checkpoints import read_checkpoint
from avsep.training.config import PREVIOUS
from avsep.workspace import Workspace
from pipeline.config import load_config
from pipeline.execution import training_run
from tests.stages.test_train_stage import PARAMS, fit
from tests.support.prefect_api import free_port
from tests.support.stage_run import run_stage
from tests.support.synthetic_workspace import make_workspace

ROOT = Path(__file__).parents[2]
MODEL = "vovit-s1"
STEPS = 16  # several kills fit into them
# Of the ranks of the stage too: other threads round otherwise.
THERE = {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
LIMIT_S = 240  # of a training that takes 10 s on an idle machine


@dataclass
class Project:
    """A project whose training has started, and its processes."""

    space: Workspace
    environment: dict[str, str] = field(default_factory=dict)
    prefix: list[str] = field(default_factory=lambda: [sys.executable])

    def start(self):
        words = ["-m", "avsep", "run", "train", "--model", MODEL, "--root", str(self.space.root)]
        return subprocess.Popen(
            [*self.prefix, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | self.environment,
        )

    def run(self):
        """The whole command; returns what it said."""
        process = self.start()
        said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, said
        return "".join(said)

    def start_and_wait(self):
        """The command, with a checkpoint before its last one written, and the processes below it.

        The first of an unstarted training is written before its first step.
        """
        second = self.space.work("train") / MODEL / PREVIOUS
        before = inode(second)
        process = self.start()
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            if inode(second) not in (None, before):
                break
            time.sleep(0.02)
        return process, psutil.Process(process.pid).children(recursive=True)

    def results(self):
        folder = self.space.run(MODEL)
        files = [folder / name for name in ("log.csv", "metrics.json", "model.safetensors")]
        return [path.read_bytes() for path in files]

    def weights(self):
        return read_checkpoint(self.space.run(MODEL) / "last.ckpt")["state_dict"]


def inode(path):
    """Which file stands there now; None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def make_project(folder, **settings):
    space = make_workspace(folder)
    values = yaml.safe_load(yaml.safe_dump(PARAMS))
    values["train"] |= {
        **settings,
        "vovit_s1": {**values["train"]["vovit_s1"], "fit": fit(steps=STEPS)},
    }
    (space.root / "params.yaml").write_text(yaml.safe_dump(values))
    return Project(space)


def trains(process):
    return "pipeline.train" in process.cmdline()


def wait_for_the_end(processes, seconds=10.0):
    _, left = psutil.wait_procs(processes, timeout=seconds)
    assert not left


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a training with so many devices gives when nothing happens."""
    known = {}

    def results(devices):
        if devices not in known:
            folder = tmp_path_factory.mktemp(f"unbroken{devices}")
            known[devices] = make_project(folder, devices=devices)
            known[devices].run()
        return known[devices]

    return results


def kill(project, victim, number, code, sentence):
    """Start the command, end what is asked for, and check what is left; returns what it said."""
    process, below = project.start_and_wait()
    ranks = [child for child in below if child.ppid() == process.pid and trains(child)]
    loaders = [child for child in below if child.ppid() in {rank.pid for rank in ranks}]
    for rank in ranks:  # to nobody on other machines
        listening = [c for c in rank.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1"}
    target = {"rank": ranks, "loader": loaders, "stage": [process]}[victim][-1]
    target.send_signal(number)
    wait_for_the_end(below)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, (out, err)
    (ours,) = (line for line in err.splitlines() if line.startswith("avsep: "))
    assert sentence in ours
    assert "Traceback" not in out + err
    last = project.space.work("train") / MODEL / "last.ckpt"
    if last.exists():
        assert 0 < read_checkpoint(last)["avsep"]["steps_done"] < STEPS
    else:  # killed after the one before was put aside
        assert read_checkpoint(last.with_name(PREVIOUS))["avsep"]["steps_done"] < STEPS
    return out + err


def equals(project, unbroken):
    expected = unbroken.weights()
    same = all(torch.equal(value, expected[name]) for name, value in project.weights().items())
    return same and project.results() == unbroken.results()


@pytest.mark.slow
def test_one_rank_goes_on_by_the_same_command_after_it_or_its_stage_was_killed(unbroken, tmp_path):
    project = make_project(tmp_path, devices=1)
    stage, below = project.start_and_wait()
    assert any(map(trains, below))
    stage.kill()
    stage.communicate(timeout=30)
    wait_for_the_end(below)  # they notice that their parent is gone
    said = kill(project, "rank", signal.SIGKILL, 1, "the training process was ended by SIGKILL")
    for said_then in (said, project.run()):
        assert "as in the checkpoint that is resumed" in said_then
    assert equals(project, unbroken(1))
    assert not list(project.space.root.rglob(".*tmp*"))


@pytest.mark.slow
def test_two_ranks_go_on_after_each_kind_of_kill_also_in_a_hard_place(unbroken, tmp_path):
    """The place: a long temporary folder, and the name of a host that has no address."""
    temp = tmp_path / ("job" * 40)
    temp.mkdir()
    project = make_project(tmp_path / "project", devices=2, workers=1)
    project.environment["TMPDIR"] = str(temp)
    alone = ["unshare", "--user", "--map-root-user", "--uts"]
    if shutil.which("unshare") and not subprocess.run([*alone, "true"], check=False).returncode:
        code = (
            "import os, socket, sys; socket.sethostname('nowhere.invalid');"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        project.prefix = [*alone, sys.executable, "-c", code]
    kill(project, "rank", signal.SIGKILL, 1, "training process 2 of 2 was ended by SIGKILL")
    kill(project, "loader", signal.SIGKILL, 1, "a process that loads training items was killed")
    kill(project, "stage", signal.SIGTERM, 143, "train was ended; run it again to go on")
    assert "as in the checkpoint that is resumed" in project.run()
    assert equals(project, unbroken(2))
    assert not list(project.space.root.rglob(".*tmp*"))
    assert not list(temp.iterdir())


def start_node(space, number, port):
    """One of two machines with one rank each, started by hand."""
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(number)]
    words += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "pipeline.train"]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *words, "train", "--model", MODEL],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=space.root,
        env=os.environ | THERE,
    )


@pytest.mark.slow
def test_two_machines_train_by_hand_and_the_stage_publishes(unbroken, tmp_path, monkeypatch):
    project = make_project(tmp_path / "one", devices=2)
    other = Workspace(tmp_path / "two")  # another disk, with the same inputs
    shutil.copytree(project.space.root, other.root)
    last = project.space.work("train") / MODEL / "last.ckpt"

    port = free_port()
    nodes = [start_node(space, i, port) for i, space in enumerate((project.space, other))]
    deadline = time.monotonic() + LIMIT_S
    while not last.with_name(PREVIOUS).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    below = [p for node in nodes for p in psutil.Process(node.pid).children(recursive=True)]
    assert len(below) >= 2
    nodes[1].send_signal(signal.SIGKILL)  # torchrun itself, not its rank
    wait_for_the_end(below, seconds=60)
    for node in nodes:
        node.communicate(timeout=60)
    assert 0 < read_checkpoint(last)["avsep"]["steps_done"] < STEPS

    port = free_port()
    nodes = [start_node(space, i, port) for i, space in enumerate((project.space, other))]
    said = [node.communicate(timeout=LIMIT_S)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "as in the checkpoint that is resumed" in said[0]
    assert not other.work("train").exists()
    monkeypatch.setattr(training_run, "launch", lambda *_, **__: pytest.fail("it is trained"))
    config = load_config(project.space.root / "params.yaml", "train")
    run_stage("train", project.space, config=replace(config, model=MODEL))
    assert equals(project, unbroken(2))


def test_two_trainings_of_one_model_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "LOCK_TIMEOUT_S", 0.2)
    with (
        training_run.locked(tmp_path / "toy.lock", "toy"),
        pytest.raises(CheckError, match="toy is being trained by another process here"),
        training_run.locked(tmp_path / "toy.lock", "toy"),
    ):
        pass
    with training_run.locked(tmp_path / "toy.lock", "toy"):
        pass
