"""Trainings that do not depend on each other, beside each other under DVC."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from avsep.bars import Bars
from avsep.progress import TELL, show_progress
from avsep.terminal import echo
from flows import side_by_side
from flows.side_by_side import Job, cores_for, jobs
from pipeline.config import load_configs
from pipeline.stages import mix
from pipeline.steps import steps

ROOT = Path(__file__).parents[2]


def dvc_stages() -> dict[str, set[str]]:
    """The stages of dvc.yaml as DVC names them, each with those that it needs directly."""
    made_by, needs = {}, {}
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        variants = [("", {})]
        if "foreach" in stage:
            variants = [(f"@{key}", {"key": key, **item}) for key, item in stage["foreach"].items()]
        if "matrix" in stage:
            variants = [(f"@{model}", {"model": model}) for model in stage["matrix"]["model"]]
        for suffix, words in variants:
            body = yaml.safe_dump(stage.get("do", stage))
            for word, value in words.items():
                for mark in (f"${{{word}}}", f"${{item.{word}}}"):
                    body = body.replace(mark, value)
            parts = yaml.safe_load(body)
            outs = [next(iter(out)) if isinstance(out, dict) else out for out in parts["outs"]]
            made_by |= dict.fromkeys(outs, name + suffix)
            needs[name + suffix] = set(parts["deps"])
    return {
        name: {
            stage
            for out, stage in made_by.items()
            for dep in deps
            if (out == dep or out.startswith(f"{dep}/")) and stage != name
        }
        for name, deps in needs.items()
    }


def test_each_stage_of_a_model_waits_for_what_dvc_says_that_it_needs():
    needs, ordered = dvc_stages(), [f"{s}@{m}" if m else s for s, m in steps()]
    shared = set(ordered[: ordered.index(mix.NAME) + 1])
    assert {job.name: set(job.needs) for job in jobs()} == {
        name: needs[name] - shared for name in ordered if name not in {*shared, "report"}
    }
    assert all(job.words == ("--single-item", job.name) for job in jobs())


def test_models_run_side_by_side_where_each_has_cores_of_its_own():
    configs = load_configs(ROOT / "params.yaml")
    assert cores_for(configs) == 1
    for change in ({"device": "auto"}, {"device": "cuda"}, {"threads": 0}):
        assert cores_for(configs | {"train": replace(configs["train"], **change)}) is None
        assert cores_for(configs | {"pretrain": replace(configs["pretrain"], **change)}) is None
    assert cores_for(configs | {"train": replace(configs["train"], devices=2, threads=3)}) == 6


@pytest.fixture
def asked(monkeypatch):
    """What `run` is asked for, in a project that is at hand."""
    lists = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(side_by_side, "run", lambda *given: lists.append(given) or 0)
    monkeypatch.setattr(side_by_side, "_start_server", lambda _: None)
    return lists


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_it_is_one_repro_where_there_are_too_few_cores(monkeypatch, asked, cores):
    monkeypatch.setattr(side_by_side, "default_workers", lambda: cores)
    assert side_by_side.main() == 0
    apart = [([Job(("mix",))],), (jobs(), cores)] if cores > 1 else []
    assert asked == [*apart, ([Job()],)]


def test_what_fails_ends_the_run_after_its_step(monkeypatch, asked):
    monkeypatch.setattr(side_by_side, "default_workers", lambda: 2)
    monkeypatch.setattr(side_by_side, "run", lambda *given: asked.append(given) or 3)
    assert side_by_side.main() == 3
    assert len(asked) == 1


def test_wrong_settings_are_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("trian: {}\n")
    assert side_by_side.main() == 2
    assert capsys.readouterr().err.startswith("avsep: ")


def test_stages_do_not_write_their_lines_into_each_other(monkeypatch):
    written = []

    class Terminal(io.RawIOBase):
        def writable(self):
            return True

        def write(self, part):
            written.append(bytes(part))
            return len(part)

    # As with PYTHONUNBUFFERED.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Terminal(), write_through=True))
    echo("Running a")
    assert [part for part in written if part] == [b"Running a\n"]


# In place of `dvc repro`: says what it sees, waits for the other one, ends with a code.
STAND_IN = """
import os, sys, time
from pathlib import Path
own, other, code = sys.argv[1:]
print(f"Running {own}\\n", end="", flush=True)
if os.environ.get("AVSEP_TELL_PROGRESS"):
    print("avsep-progress 0.5000 1 train", own, file=sys.stderr, flush=True)
    print("avsep-progress 0.50avsep-progress", file=sys.stderr, flush=True)
Path(own).touch()
limit = time.monotonic() + 60
while other != "-" and not Path(other).exists() and time.monotonic() < limit:
    time.sleep(0.01)
print(f"Ended {own}\\n", end="", flush=True)
if int(code) < 0:
    os.kill(os.getpid(), -int(code))
sys.exit(0 if time.monotonic() > limit else int(code))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    script = tmp_path / "dvc.py"
    script.write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(side_by_side, "DVC", (sys.executable, "-S", str(script)))


def test_all_are_at_work_at_once_and_the_worst_code_counts(stand_in, capfd):
    # Each ends once the other has begun; the one that fails does not end the other.
    assert side_by_side.run([Job(("a", "b", "4")), Job(("b", "a", "5"))], 2) == 5
    said = capfd.readouterr()
    assert sorted(said.out.split("\n")) == ["", "Ended a", "Ended b", "Running a", "Running b"]
    assert "progress" not in said.err  # without a terminal, stages print lines of their own


def test_what_needs_a_job_begins_after_it_and_not_at_all_after_its_failure(stand_in, capfd):
    """`c` needs `a`, which waits for `b`; `d` needs `c`, which fails."""
    given = [
        Job(("d", "-", "0"), "d", frozenset(["c"])),
        Job(("c", "-", "6"), "c", frozenset(["a"])),
        Job(("a", "b", "0"), "a"),
        Job(("b", "-", "0"), "b"),
    ]
    assert side_by_side.run(given, 2) == 6
    said = capfd.readouterr().out.split()
    assert said.index("c") > len(said) - 1 - said[::-1].index("a")
    assert "d" not in said
    assert said.count("Ended") == 3


@pytest.mark.slow
def test_no_more_than_asked_for_run_at_once(stand_in, capfd):
    given = [Job((name, "-", "0"), name) for name in "abc"]
    assert side_by_side.run(given) == 0
    assert capfd.readouterr().out.split() == [
        word for name in "abc" for word in ("Running", name, "Ended", name)
    ]


def test_one_that_is_killed_is_a_failure(stand_in):
    assert side_by_side.run([Job(("a", "b", "-9")), Job(("b", "a", "0"))], 2) == 137


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_each_has_a_bar_and_lines_stand_above(stand_in, monkeypatch):
    shown = []

    class Noted(Bars):
        def add(self, title, total):
            shown.append((title, total))
            return super().add(title, total)

    monkeypatch.setattr(side_by_side, "Bars", Noted)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert side_by_side.run([Job(("a", "b", "0")), Job(("b", "a", "0"))], 2) == 0
    text = sys.stderr.getvalue()
    assert sorted(shown) == [("train a", 1), ("train b", 1)]
    assert all(f"{word} {name}\n" in text for word in ("Running", "Ended") for name in "ab")
    assert "avsep-progress" not in text


def test_a_process_tells_its_progress_to_the_one_that_draws(monkeypatch, capsys):
    monkeypatch.setenv(TELL, "1")
    with show_progress("train vovit", 4) as advance:
        advance(1.5)
        advance(2.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "avsep-progress 0.0000 4 train vovit"
    assert lines[-1] == "avsep-progress 4.0000 4 train vovit"


PIPELINE = """
stages:
  all: {cmd: echo 1 > shared, outs: [shared]}
  one:
    foreach: [a, b]
    do:
      cmd: python meet.py ${item}
      deps: [shared]
      outs: ["out-${item}"]
  end: {cmd: cat out-a out-b > end, deps: [out-a, out-b], outs: [end]}
"""
MEET = """
import sys, time
from pathlib import Path
name = sys.argv[1]
Path("at-" + name).touch()
limit = time.monotonic() + 120
while not Path("at-" + {"a": "b", "b": "a"}[name]).exists():
    assert time.monotonic() < limit
    time.sleep(0.05)
Path("out-" + name).write_text(name)
"""


@pytest.mark.slow
def test_dvc_lets_stages_run_side_by_side_and_knows_what_they_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dvc = [sys.executable, "-m", "dvc"]
    for words in (["git", "init", "-q"], [*dvc, "init", "-q"]):
        subprocess.run(words, check=True)
    Path("dvc.yaml").write_text(PIPELINE)
    Path("meet.py").write_text(MEET)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert side_by_side.run([Job(("all",))]) == 0
    apart = [Job(("--single-item", f"one@{name}")) for name in "ab"]
    assert side_by_side.run(apart, 2) == 0
    assert side_by_side.run([Job()]) == 0
    assert Path("end").read_text() == "ab"
    assert set(yaml.safe_load(Path("dvc.lock").read_text())["stages"]) == {
        "all", "one@a", "one@b", "end",
    }  # fmt: skip
    status = subprocess.run([*dvc, "status", "--json"], check=True, capture_output=True)
    assert status.stdout.strip() == b"{}"


@pytest.mark.slow
def test_when_it_is_ended_it_ends_what_it_has_started(tmp_path):
    script = tmp_path / "sleep.py"
    script.write_text('import os, time; os.write(1, b"%d\\n" % os.getpid()); time.sleep(300)')
    code = (
        "import sys; from flows import side_by_side;"
        f"side_by_side.DVC = (sys.executable, {str(script)!r});"
        "side_by_side.run([side_by_side.Job(name=n) for n in 'ab'], 2)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    wait_for_the_end(pids)


def test_it_ends_what_was_started_in_the_moment_of_the_signal():
    code = """
import os, signal, subprocess, sys
from flows import side_by_side
side_by_side.DVC = (sys.executable, "-c", "import time; time.sleep(300)")
start = side_by_side._start
def struck(*words, **options):
    process = start(*words, **options)
    print(process.pid, flush=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(side_by_side.DVC, start_new_session=True, **quiet)
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    return process
side_by_side._start = struck
side_by_side.run([side_by_side.Job()])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (143, "")
    dvc, server = map(int, ended.stdout.split())
    try:
        wait_for_the_end([dvc])
    finally:
        os.kill(server, signal.SIGKILL)  # it ends by itself, when nobody needs it


def wait_for_the_end(pids):
    limit = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)
