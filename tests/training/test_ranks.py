"""What torchrun and Slurm say of a process is understood."""

import pytest

from avsep.errors import CheckError
from avsep.training.ranks import take_ranks_of_slurm

STEP = {
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_JOB_NODELIST": "gpu[03-04]", "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0",
}  # fmt: skip


def test_a_task_of_srun_knows_its_rank():
    environ = dict(STEP)
    take_ranks_of_slurm(environ)
    wanted = {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
        "NODE_RANK": "1", "GROUP_RANK": "1", "MASTER_ADDR": "gpu03", "MASTER_PORT": "19711",
    }  # fmt: skip
    assert {name: environ[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("one", "one"), ("a,b", "a"), ("n[1,3-5]", "n1"), ("n[007-009],m2", "n007"),
        ("gpu-3-[12-13]", "gpu-3-12"), ("10.0.0.1,10.0.0.2", "10.0.0.1"),
    ],
)  # fmt: skip
def test_the_tasks_meet_at_the_first_node(nodes, first):
    environ = STEP | {"SLURM_JOB_NODELIST": nodes}
    take_ranks_of_slurm(environ)
    assert environ["MASTER_ADDR"] == first


def test_what_torchrun_or_a_person_has_set_counts_first():
    environ = STEP | {"RANK": "0", "WORLD_SIZE": "2"}
    take_ranks_of_slurm(environ)
    assert environ == STEP | {"RANK": "0", "WORLD_SIZE": "2"}
    environ = STEP | {"MASTER_ADDR": "here", "MASTER_PORT": "1"}
    take_ranks_of_slurm(environ)
    assert (environ["MASTER_ADDR"], environ["MASTER_PORT"]) == ("here", "1")


def test_one_task_or_no_slurm_needs_nothing():
    environ = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    take_ranks_of_slurm(environ)
    assert (environ["WORLD_SIZE"], environ["LOCAL_WORLD_SIZE"]) == ("1", "1")
    environ = {"SLURM_JOB_ID": "3", "SLURM_NTASKS": "4"}  # not a task: a shell of salloc
    take_ranks_of_slurm(environ)
    assert "RANK" not in environ


def test_a_script_of_sbatch_is_one_process_whatever_its_job_may_start():
    job = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_TASKS_PER_NODE": "4(x2)"}
    environ = dict(job)
    take_ranks_of_slurm(environ)
    assert environ == job


def test_unequal_nodes_and_unknown_ones_are_refused():
    with pytest.raises(CheckError, match=r"unequal numbers of tasks .*4,3.*--ntasks-per-node"):
        take_ranks_of_slurm(STEP | {"SLURM_STEP_TASKS_PER_NODE": "4,3"})
    with pytest.raises(CheckError, match="set MASTER_ADDR"):
        take_ranks_of_slurm({k: v for k, v in STEP.items() if k != "SLURM_JOB_NODELIST"})
