"""The whole path, as a person runs it: `dvc repro` on a tiny demo corpus, then again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from avsep.shards.verify import verify_set
from pipeline.execution.ledger import Ledger
from tests.support.guards import CHILD_PATH, children_on_loopback
from tests.support.tiny_models import DOLPHIN, VOVIT

ROOT = Path(__file__).parents[1]
FIT = {"steps": 2, "val_every": 2, "batch": 2, "seconds": 2.0}
PARAMS = {
    "download": {
        "corpus": "demo",
        "demo": {"clips_per_speaker": 1, "train": [0, 1, 3], "val": [7, 12], "test": [2, 5]},
    },
    "clean": {},
    "extract": {"clips_per_shard": 40},
    "mix": {"val_mixtures": 2, "test_mixtures": 2},
    "pretrain": {"precision": "fp32", "lipcoder": {"overrides": DOLPHIN, "fit": FIT}},
    "train": {
        "seed": 0,
        "precision": "fp32",
        "devices": 1,
        "val_mixtures": 2,
        "stream_shards": 0,
        "dolphin": {"overrides": DOLPHIN, "fit": FIT},
        "vovit-s1": {"overrides": VOVIT, "fit": FIT},
        "vovit": {"fit": FIT},
    },
    "evaluate": {
        "perceptual": ["stoi"],
        "cost": False,
        "bootstrap_samples": 50,
        "example_count": 1,
    },
    "report": {"max_examples": 1},
}


def _run(folder: Path, *command: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(autouse=True)
def _reaches_for_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> Iterator[None]:
    """Prefect and others report their use by default."""
    with children_on_loopback(monkeypatch, tmp_path_factory.mktemp("notes") / "refused"):
        # The project has the code of its own.
        monkeypatch.setenv("PYTHONPATH", CHILD_PATH[0])
        yield


@pytest.mark.slow
def test_one_command_makes_everything_and_a_second_makes_nothing(tmp_path: Path):
    for name in ("avsep", "pipeline", "flows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    _run(tmp_path, "git", "init", "-q")
    _run(tmp_path, "dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")

    _run(tmp_path, "dvc", "repro")

    data = tmp_path / "data"
    assert verify_set(data / "shards", deep=True) == []
    for model in ("dolphin", "vovit-s1", "vovit"):
        metrics = json.loads((data / "evaluations" / model / "metrics.json").read_text())
        assert metrics, model
    assert "<html" in (data / "report" / "index.html").read_text().lower()
    ledger = Ledger(data / "ledger.sqlite")
    assert ledger.counts("download").done == 7
    assert ledger.counts("clean").total == ledger.counts("extract").total == 7
    log = (data / ".work" / "prefect" / "server.log").read_text()
    assert log.count("Prefect's server at") == 1, "one server for all stages"

    assert "up to date" in _run(tmp_path, "dvc", "status")
    again = _run(tmp_path, "dvc", "repro")
    assert "Running stage" not in again
    assert "up to date" in again
