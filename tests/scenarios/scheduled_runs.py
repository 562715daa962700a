"""The deployments, live: a corpus grows, runs are cancelled, everything is reproduced and pushed.

    python tests/scenarios/scheduled_runs.py PROJECT

PROJECT is a folder with raw clips of the demo corpus (`dvc repro download` is enough); it is only
read. Some of them become a folder corpus of a small project of its own, with this checkout's code
and models of a few steps. `avsep up` starts server and worker, runs are started by
`prefect deployment run`, and the script ends with 1 where a promise does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from steps import ROOT, commit, environment, run, say

from avsep.files import sha256_file
from avsep.workspace import Workspace
from flows.access import basic, password

SPLITS = {"train": (0, 1, 2, 3), "val": (7, 14), "test": (5, 6)}
FIT = "{steps: STEPS, val_every: STEPS, batch: 2, seconds: 2.0}"
PARAMS = f"""
download: {{corpus: folder, folder: {{root: videos, csv: list.csv, only_listed: true}}}}
clean: {{}}
extract: {{clips_per_shard: 8}}
mix: {{val_mixtures: 2, test_mixtures: 2}}
pretrain: {{precision: fp32, lipcoder: {{size: demo, fit: {FIT}}}}}
train:
  seed: 0
  precision: fp32
  devices: 1
  dolphin: {{size: demo, fit: {FIT}}}
  vovit-s1: {{size: demo, fit: {FIT}}}
  vovit: {{fit: {FIT}}}
evaluate: {{perceptual: [stoi], cost: false, bootstrap_samples: 50, example_count: 1}}
report: {{max_examples: 1}}
"""
UP_TO_MIX = ("download", "clean", "extract", "mix")
RUN_TIMEOUT_S = 1800
ENDS_IN_S = 300.0  # it takes 5, but a machine may be busy with other work


def make_project(folder: Path) -> None:
    """A repository with this checkout's code, and no data."""
    ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
    for name in ("avsep", "pipeline", "flows", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("dvc.yaml", "prefect.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    run(folder, "git", "init", "-q")


def offer(folder: Path, raw: Path, clips: int) -> None:
    """Offer so many clips of each speaker of training, two of the others."""
    videos = folder / "videos"
    videos.mkdir(exist_ok=True)
    rows = []
    for split, speakers in SPLITS.items():
        for speaker in speakers:
            for clip in range(clips if split == "train" else 2):
                name = f"demo-s{speaker:02d}-c{clip:02d}.mp4"
                if not (videos / name).exists():
                    shutil.copy(raw / name, videos / name)
                rows.append((name, f"s{speaker:02d}", split))
    with (videos / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "speaker", "split"), *rows])


def set_steps(folder: Path, steps: int) -> None:
    """Write the settings, with a number of training steps."""
    (folder / "params.yaml").write_text(PARAMS.replace("STEPS", str(steps)))


def files(folder: Path, pattern: str) -> dict[str, str]:
    """The hashes of the files of a folder that are named so."""
    found = sorted(folder.glob(pattern))
    return {path.name: sha256_file(path) for path in found}


def processes(folder: Path) -> dict[int, str]:
    """The processes that work in a folder (or name it) and have not ended, with their words."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            where = (path / "cwd").resolve()
            if words and (where.is_relative_to(folder) or str(folder) in words):
                found[int(path.name)] = words
    return found


def access(folder: Path, api: str) -> dict[str, str]:
    """The variables that `avsep up` prints for other commands of Prefect."""
    auth = password(Workspace(folder).work("local_server"))
    return {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": auth}


def call(
    folder: Path, url: str, method: str, body: dict[str, object] | None = None
) -> dict[str, object]:
    """Ask the Prefect server of a project."""
    data = None if body is None else json.dumps(body).encode()
    headers = basic(access(folder, url)["PREFECT_API_AUTH_STRING"])
    headers["content-type"] = "application/json"
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def state_of(folder: Path, api: str, flow_run: str) -> str:
    """The type of a flow run's state."""
    return str(call(folder, f"{api}/flow_runs/{flow_run}", "GET")["state_type"])


def deployment_run(folder: Path, api: str, name: str, *more: str) -> None:
    """Run a deployment and wait until it has completed."""
    words = ("prefect", "deployment", "run", name, *more, "--watch")
    said = run(folder, *words, "--watch-timeout", str(RUN_TIMEOUT_S), **access(folder, api))
    say(f"{name} completed", "Completed" in said)


def start_run(folder: Path, api: str, name: str) -> str:
    """Start a run of a deployment; its id."""
    flow, deployment = name.split("/")
    found = call(folder, f"{api}/deployments/name/{flow}/{deployment}", "GET")
    made = call(folder, f"{api}/deployments/{found['id']}/create_flow_run", "POST", {})
    return str(made["id"])


def wait_for(what: str, seconds: float, condition) -> None:
    """Wait until a condition holds, and end the scenario where it does not in time."""
    started = time.monotonic()
    while not condition() and time.monotonic() - started < seconds:
        time.sleep(0.5)
    say(f"{what} ({time.monotonic() - started:.0f} s)", condition())


@contextlib.contextmanager
def local_server(folder: Path) -> Iterator[str]:
    """`avsep up`, and `avsep down` at the end; the URL of the API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        run(folder, "avsep", "up", "--port", str(port))
        yield f"http://127.0.0.1:{port}/api"
    finally:
        subprocess.run(["avsep", "down"], cwd=folder, env=environment(folder), check=False)


def cancel(lab: Path, api: str, name: str, *, when: tuple[str, ...]) -> None:
    """Start a run of a deployment, and cancel it once processes with such words work."""
    waiting = set(processes(lab))
    flow_run = start_run(lab, api, name)
    wait_for(
        f"{name} has come to {' and '.join(when)}",
        RUN_TIMEOUT_S,
        lambda: all(any(one in words for words in processes(lab).values()) for one in when),
    )
    time.sleep(2)  # so that it is at work, with all of its children
    started = {pid: words for pid, words in processes(lab).items() if pid not in waiting}
    for words in sorted(started.values()):
        print(f"        {words.replace(str(lab), '.')[:110]}")
    run(lab, "prefect", "flow-run", "cancel", flow_run, **access(lab, api))
    wait_for("the run is cancelled", ENDS_IN_S, lambda: state_of(lab, api, flow_run) == "CANCELLED")
    wait_for(
        f"its {len(started)} processes have ended",
        ENDS_IN_S,
        lambda: not set(started) & set(processes(lab)),
    )
    say("the server and the worker go on", waiting <= set(processes(lab)))


def grow(lab: Path, api: str, raw: Path) -> None:
    """`refresh` twice, with more clips the second time, when it is also cancelled once."""
    shards, lists = lab / "data" / "shards", lab / "data" / "mixtures"
    offer(lab, raw, clips=2)
    deployment_run(lab, api, "refresh/nightly")
    status = run(lab, "dvc", "status", *UP_TO_MIX)
    say("after refresh dvc.lock is true", "up to date" in status)
    before, listed = files(shards, "*.tar"), files(lists, "*.jsonl")
    commit(lab, "the first clips")

    offer(lab, raw, clips=10)
    cancel(lab, api, "refresh/nightly", when=("flows.stages extract", "forkserver"))
    deployment_run(lab, api, "refresh/nightly")
    after = files(shards, "*.tar")
    say(
        f"{len(before)} shards stayed as they were, {len(after) - len(before)} came",
        before.items() < after.items(),
    )
    say("the lists of val and test stayed", files(lists, "*.jsonl") == listed)
    status = run(lab, "dvc", "status", *UP_TO_MIX)
    say("after the second refresh dvc.lock is true too", "up to date" in status)
    commit(lab, "more clips")


def reproduce(lab: Path, api: str) -> None:
    """`reproduce` to its end, with a remote."""
    deployment_run(lab, api, "reproduce/weekly")
    say("dvc.lock is true", "up to date" in run(lab, "dvc", "status"))
    say("the remote has it all", "in sync" in run(lab, "dvc", "status", "--cloud"))
    deployment_run(lab, api, "train/on-demand", "--param", "model=vovit-s1")
    wide = access(lab, api) | {"COLUMNS": "250"}  # else its tables are cut
    words = ("prefect", "flow-run", "ls", "--limit", "200", "--output", "json")
    listed = run(lab, *words, **wide)
    say("the runs are listed", '"CANCELLED"' in listed and '"COMPLETED"' in listed)
    words = ("prefect", "deployment", "schedule", "ls", "refresh/nightly")
    say("the schedule is there", "0 3 * * *" in run(lab, *words, **wide))


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    raw = parser.parse_args().project.resolve() / "data" / "raw" / "demo"
    if not raw.is_dir():
        sys.exit(f"{raw} is missing.")
    with tempfile.TemporaryDirectory(prefix="avsep-scheduled-") as temporary:
        lab = Path(temporary).resolve() / "lab"
        lab.mkdir()
        make_project(lab)
        set_steps(lab, 2)
        run(lab, "dvc", "remote", "add", "-d", "store", str(lab.parent / "remote"))
        commit(lab, "a project without data")
        with local_server(lab) as api:
            grow(lab, api, raw)
            set_steps(lab, 1_000_000)
            cancel(lab, api, "reproduce/weekly", when=("pipeline.train pretrain",))
            set_steps(lab, 2)
            reproduce(lab, api)
        left = processes(lab)
        say(f"`avsep down` left no process {sorted(left.values()) or ''}".strip(), not left)


if __name__ == "__main__":
    main()
