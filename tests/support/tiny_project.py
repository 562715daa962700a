"""A project of a few rendered clips, on which every stage takes seconds."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_check import check_ledger
from tests.support.tiny_models import DOLPHIN, VOVIT

ROOT = Path(__file__).parents[2]
MODEL = "vovit-s1"
FIT = {"steps": 6, "val_every": 2, "batch": 2, "seconds": 2.0, "checkpoint_minutes": 1e-9}
RUN = {"precision": "fp32", "device": "cpu", "threads": 1, "workers": 1}
PARAMS = {
    "download": {
        "corpus": "demo", "workers": 2,
        "demo": {"clips_per_speaker": 1, "train": [0, 1, 3], "val": [7, 12], "test": [2, 5]},
    },
    "clean": {"workers": 2, "batch_size": 3},
    "extract": {"workers": 2, "clips_per_shard": 2},
    "mix": {"val_mixtures": 2, "test_mixtures": 2},
    "pretrain": {**RUN, "lipcoder": {"overrides": DOLPHIN, "fit": {**FIT, "seconds": 1.0}}},
    "train": {**RUN, "devices": 2, "val_mixtures": 2, "vovit-s1": {"overrides": VOVIT, "fit": FIT}},
    "evaluate": {
        "perceptual": ["stoi"], "cost": False, "bootstrap_samples": 50, "example_count": 1
    },
    "report": {"max_examples": 1, "models": [MODEL]},
}  # fmt: skip
CODE = ("avsep/", "pipeline/", "flows/")
# Each stage with what it publishes, below `data/`.
STAGES = {
    "download": ("raw", "raw.parquet"),
    "clean": ("clips",),
    "extract": ("shards", "plan.parquet"),
    "mix": ("mixtures",),
    "pretrain": ("lipcoder",),
    "train": (f"runs/{MODEL}",),
    "evaluate": (f"evaluations/{MODEL}",),
    "report": ("report",),
}


def command(stage: str, root: Path, how: str = "run") -> list[str]:
    """The command that runs a stage in a project: `avsep run`, its flow, or `dvc repro`."""
    model = ["--model", MODEL] if stage in ("train", "evaluate") else []
    if how == "dvc":
        target = f"{stage}@{MODEL}" if model else stage
        return [sys.executable, "-m", "dvc", "repro", "--single-item", target]
    words = ["avsep", "run"] if how == "run" else ["flows.stages"]
    return [sys.executable, "-m", *words, stage, *model, "--root", str(root)]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a stage: this checkout, and threads that always round the same."""
    kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"  # dvc.yaml says `python`
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | changes


def make_project(root: Path) -> None:
    """A project without data: its settings, and dvc.yaml without the code that it depends on."""
    root.mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    written = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    stages: dict[str, dict[str, Any]] = written["stages"]
    train, evaluate = stages["train"], stages["evaluate"]
    train["foreach"] = {MODEL: train["foreach"][MODEL]}
    evaluate["matrix"] = {"model": [MODEL]}
    for stage in (train["do"] if stage is train else stage for stage in stages.values()):
        stage["deps"] = [name for name in stage["deps"] if not name.startswith(CODE)]
        del stage["params"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / ".dvc").mkdir()
    config = (ROOT / ".dvc" / "config").read_text("utf-8")
    (root / ".dvc" / "config").write_text(config.replace("[core]", "[core]\n    no_scm = true"))


def last_turn(root: Path) -> int:
    """When a stage last began its work in a project; 0 if none has."""
    locks = (root / "data" / ".work" / "locks").glob("*")
    return max((path.stat().st_mtime_ns for path in locks), default=0)


@dataclass
class Unbroken:
    """The states of a project before each stage, and what an unbroken run makes of them.

    Attributes:
        folder: where they are made.
        seconds: what a stage takes, from the moment that it begins its work.
        results: the hashes of what a stage publishes.
    """

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    results: dict[str, dict[str, str]] = field(default_factory=dict)

    def before(self, stage: str) -> Path:
        """The project as it is before a stage; made up to there when first asked for."""
        names = list(STAGES)
        place = self.folder / stage
        if not place.exists():
            if stage == names[0]:
                make_project(place)
            else:
                self.result(names[names.index(stage) - 1])
        return place

    def result(self, stage: str) -> dict[str, str]:
        """The hashes of what an unbroken run publishes."""
        if stage not in self.results:
            place = self.folder / self._next(stage)
            shutil.copytree(self.before(stage), place, symlinks=True)
            subprocess.run(
                command(stage, place), env=environment(), check=True, capture_output=True
            )
            self.seconds[stage] = time.time() - last_turn(place) / 1e9
            self.results[stage] = published(place, stage)
        return self.results[stage]

    def after(self, stage: str) -> Path:
        """The project as it is after a stage."""
        self.result(stage)
        return self.folder / self._next(stage)

    def _next(self, stage: str) -> str:
        names = [*STAGES, "end"]
        return names[names.index(stage) + 1]

    def copy_before(self, stage: str, root: Path) -> Path:
        """A copy of the project as it is before a stage."""
        return Path(shutil.copytree(self.before(stage), root, symlinks=True, dirs_exist_ok=True))

    def assert_same(self, root: Path, stage: str) -> None:
        """Fail where a project has not the bytes of an unbroken run, or something else is left."""
        assert published(root, stage) == self.result(stage)
        workspace = Workspace(root)
        assert not [path for path in workspace.data.rglob("*") if ".tmp" in path.name]
        counts = Ledger(workspace.ledger).counts(stage)
        assert counts.done
        assert not counts.failed
        assert check_ledger(workspace, deep=True) == []


def published(root: Path, stage: str) -> dict[str, str]:
    """The hash of each file that a stage has published."""
    found: dict[str, str] = {}
    for name in STAGES[stage]:
        place = root / "data" / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                inside = path.relative_to(root).as_posix()
                found[inside] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
