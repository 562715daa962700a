"""Every stage on a disk that is full, slow or fails: a sentence, and later the same bytes.

Run by `make test-faults`. `test_disk.py` tries each writer alone.
"""

import os
import random
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.support.small_disk import mounted
from tests.support.strikes import bad_machine, run_to_its_end, started
from tests.support.tiny_project import STAGES, command

SEEDS = range(int(os.environ.get("AVSEP_FAULT_SEEDS", "1")))
MEGABYTES = 64.0
ANYWAY = {"AVSEP_IGNORE_DISK": "1"}  # else a stage is refused before it writes


@pytest.fixture
def disk(tmp_path):
    """A project folder on a disk of its own."""
    with mounted(tmp_path / "disk", MEGABYTES) as made:
        yield made


def run(stage, root, **changes):
    """The exit code and what was said, of which no word is a traceback and the last a sentence."""
    with started(command(stage, root), root, **changes) as running:
        said = running.end()
        assert not running.left()
        code = running.process.returncode
    assert "Traceback" not in said, said
    assert code in (0, 1), said
    assert code == 0 or said.strip().splitlines()[-1].startswith("avsep: "), said
    return code, said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_on_a_full_or_read_only_disk_says_so_and_goes_on(unbroken, disk, stage, seed):
    rng = random.Random(f"{stage} {seed}")
    unbroken.result(stage)
    root = unbroken.copy_before(stage, disk.path / "project")
    disk.make_read_only()
    code, said = run(stage, root)
    disk.heal()
    assert (code, "the disk is read-only" in said) == (1, True), said
    for share in (0.0, rng.uniform(0.0, 0.5), rng.uniform(0.5, 1.0)):
        disk.fill(but=round(share * written(unbroken, stage)))
        code, said = run(stage, root, **ANYWAY)
        disk.heal()
        if code == 0:
            break
        assert "disk" in said, said
    run_to_its_end(command(stage, root), root)
    unbroken.assert_same(root, stage)


def written(unbroken, stage):
    """About the bytes that a stage writes."""
    size = 0
    for folder, sign in ((unbroken.before(stage), -1), (unbroken.after(stage), 1)):
        files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*.*")}
        size += sign * sum(files.values())
    return max(size, 1 << 12)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_whose_temporary_folder_is_full_works_or_says_so(unbroken, tmp_path, stage):
    root = unbroken.copy_before(stage, tmp_path / "project")
    unbroken.result(stage)
    with mounted(tmp_path / "temp", 1) as temp:
        temp.fill()
        code, said = run(stage, root, TMPDIR=str(temp.path))
        assert code == 0 or "disk is full" in said, said
    run_to_its_end(command(stage, root), root)
    unbroken.assert_same(root, stage)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_rename_that_fails_costs_nothing(unbroken, tmp_path, stage, seed):
    rng = random.Random(f"{stage} {seed}")
    root = unbroken.copy_before(stage, tmp_path / "project")
    unbroken.result(stage)
    claims = [str(tmp_path / f"failed{number}") for number in range(3)]
    for claim, count in zip(claims, (0, rng.randrange(1, 4), rng.randrange(4, 10)), strict=True):
        code, said = run(stage, root, **bad_machine(rename=[str(root / "data"), count, claim]))
        assert code == 0 or "disk fails" in said, said
        if not Path(claim).exists():  # there were not so many
            break
    assert Path(claims[0]).exists()
    run_to_its_end(command(stage, root), root)
    unbroken.assert_same(root, stage)


@pytest.mark.parametrize("stage", ["clean", "extract", "mix", "train"])
def test_a_stage_that_is_killed_while_the_disk_is_slow_ends_the_same(unbroken, tmp_path, stage):
    rng = random.Random(stage)
    root = unbroken.copy_before(stage, tmp_path / "project")
    unbroken.result(stage)
    slow = bad_machine(slow_s=0.3)
    for victim in ("main", "group"):
        with started(command(stage, root), root, **slow) as running:
            running.wait_for_work()
            running.wait(rng.uniform(0.3, 1.0) * unbroken.seconds[stage])
            running.strike(victim, rng)
            running.end()
            assert not running.left()
    run_to_its_end(command(stage, root), root, **slow)
    unbroken.assert_same(root, stage)


def test_a_clip_that_vanishes_before_extraction_fails_and_is_tried_again(unbroken, tmp_path):
    root = unbroken.copy_before("extract", tmp_path / "project")
    unbroken.result("extract")
    clip = sorted((root / "data" / "raw").rglob("*.mp4"))[2]
    clip.rename(tmp_path / "away.mp4")
    code, said = run("extract", root)
    assert code == 1
    assert "1 of 7 items failed (file_missing 1)" in said, said
    (tmp_path / "away.mp4").rename(clip)
    run_to_its_end([*command("extract", root), "--retry-failed"], root)
    unbroken.assert_same(root, "extract")


def test_a_ledger_that_another_program_locks_is_waited_for(unbroken, tmp_path):
    root = unbroken.copy_before("clean", tmp_path / "project")
    unbroken.result("clean")
    ledger = sqlite3.connect(
        root / "data" / "ledger.sqlite", isolation_level=None, check_same_thread=False
    )
    ledger.execute("BEGIN EXCLUSIVE")
    with started(command("clean", root), root) as running:
        running.wait_for_work()
        threading.Timer(2 * unbroken.seconds["clean"], ledger.close).start()
        said = running.end()
        assert running.process.returncode == 0, said
    unbroken.assert_same(root, "clean")
