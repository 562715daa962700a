"""Kill trainings at random moments, let the same command go on, and compare the bytes at the end.

    python -m tests.scenarios.killed_trainings --seeds 20

Per seed: one or two processes; the stage, a process of it, or both are killed up to twice, with a
checkpoint after every step. Prints one line per seed and fails at the first difference.
"""

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from tests.stages import test_killed_training as kills
from tests.stages.test_train_stage import PARAMS, fit

NAMES = ("last.ckpt", "best.ckpt", "log.csv", "metrics.json", "model.safetensors")


def project(folder, devices):
    made = kills.make_project(folder, devices=devices)
    values = yaml.safe_load(yaml.safe_dump(PARAMS))
    often = fit(steps=24, val_every=4, batch=4 // devices, checkpoint_minutes=1e-9)
    values["train"] |= {
        "devices": devices, "vovit_s1": {**values["train"]["vovit_s1"], "fit": often}
    }  # fmt: skip
    (made.space.root / "params.yaml").write_text(yaml.safe_dump(values))
    return made


def content(made):
    return [(made.space.run(kills.MODEL) / name).read_bytes() for name in NAMES]


def kill_once(made, rng):
    """Start it, kill something at a random moment, and wait until all of it has gone."""
    process = made.start()
    last = made.space.work("train") / kills.MODEL / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    while process.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 3.0))
    if process.poll() is not None:
        return "ended"
    below = psutil.Process(process.pid).children(recursive=True)
    victim = rng.choice(["stage", "rank", "all"])
    ranks = [child for child in below if kills.trains(child)]
    targets = {"stage": [process], "rank": ranks[-1:], "all": [process, *ranks]}[victim]
    for target in targets:
        target.send_signal(signal.SIGKILL)
    kills.wait_for_the_end(below, seconds=30)
    process.communicate()
    return victim


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = {}
        for devices in (1, 2):
            whole = project(Path(folder) / f"whole{devices}", devices)
            whole.run()
            wanted[devices] = content(whole)
        for seed in range(given.seeds):
            rng = random.Random(seed)
            devices = rng.choice([1, 2])
            made = project(Path(folder) / f"seed{seed}", devices)
            killed = [kill_once(made, rng) for _ in range(rng.choice([1, 2]))]
            made.run()
            same = content(made) == wanted[devices]
            print(f"seed {seed}: devices {devices}, killed {killed}, same {same}", flush=True)
            assert same
            assert not list(made.space.root.rglob(".*tmp*"))


if __name__ == "__main__":
    main()
