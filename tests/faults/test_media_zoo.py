"""Every file of the zoo ends as docs/reliability.md says, in bounded memory, and none hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import yaml

from avsep.corpora.config import FolderConfig
from avsep.errors import CheckError
from avsep.shards.index import read_index
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.stages.clean import CleanConfig
from pipeline.stages.download import DownloadConfig
from tests.support.media_zoo import Case, Studio, table
from tests.support.processes import high_water
from tests.support.stage_run import run_stage
from tests.support.tiny_project import ROOT, environment
from tests.support.zoo_cases import cases, promised

MAX_BYTES = 1_000_000_000  # of any process
TIMEOUT_S = 120.0  # per file: one that hangs ends as `timed_out`, which no case allows
FULL = bool(os.environ.get("AVSEP_FAULTS"))
DOCUMENT = ROOT / "docs" / "reliability.md"


def written(folder: Path, chosen: Sequence[Case]) -> Path:
    """The files as a corpus, one folder per speaker."""
    studio = Studio(folder / "studio")
    for number, case in enumerate(chosen):
        speaker = folder / "videos" / f"s{number % 4}"
        speaker.mkdir(parents=True, exist_ok=True)
        case.make(studio, speaker / case.file)
    return folder / "videos"


def endings(root: Path) -> dict[str, str]:
    """How each file of a project ended in the last stage that it reached."""
    ledger = Ledger(Workspace(root).ledger)
    stages = [ledger.outcomes(stage) for stage in ("download", "clean", "extract")]
    found = {}
    for clip_id, outcome in stages[0].items():
        last = next(stage[clip_id] for stage in reversed(stages) if clip_id in stage)
        found[Path(outcome.path).name] = str(last.reason or "done")
    return found


def ended_as(case: Case, found: dict[str, str]) -> str:
    """How a case ended; the ledger has names as text, also those that are not UTF-8."""
    return found.get(os.fsencode(case.file).decode("utf-8", "backslashreplace"), "nothing")


def wrong(chosen: Sequence[Case], found: dict[str, str]) -> list[str]:
    """The cases that ended otherwise than promised."""
    return [
        f"{case.kind}: {case.file!r} ends as {ended_as(case, found)}, not {case.ends}"
        for case in chosen
        if ended_as(case, found) not in case.ends
    ]


@pytest.mark.slow
def test_a_sample_of_the_zoo_ends_as_promised(tmp_path):
    chosen = [case for case in cases() if case.sample]
    videos = written(tmp_path, chosen)
    (videos / "s0" / ".hidden.mp4").write_bytes(b"x")
    workspace = Workspace(tmp_path / "project")
    config = DownloadConfig(corpus="folder", workers=0, folder=FolderConfig(root=str(videos)))
    report = run_stage("download", workspace, config=config)
    assert report.facts["left out"] == "1 hidden video(s)"
    with pytest.raises(CheckError, match="no clip is kept"):
        run_stage("clean", workspace, config=CleanConfig(workers=0))
    assert not wrong(chosen, endings(workspace.root))


def test_the_document_has_the_table():
    text = DOCUMENT.read_text("utf-8")
    assert "\n".join(promised()) in text, "\n".join(promised())


@pytest.mark.skipif(not FULL, reason="runs with `make test-faults`")
def test_every_file_of_the_zoo_ends_as_promised(tmp_path, capsys):
    chosen = cases()
    videos = written(tmp_path, chosen)
    root = tmp_path / "project"
    root.mkdir()
    settings = {
        "download": {"corpus": "folder", "folder": {"root": str(videos)}, "workers": 2},
        "clean": {"workers": 2, "item_timeout_s": TIMEOUT_S},
        "extract": {"workers": 2, "item_timeout_s": TIMEOUT_S},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    for stage in ("download", "clean", "extract"):
        peak = peak_of([sys.executable, "-m", "avsep", "run", stage, "--root", str(root)])
        with capsys.disabled():
            print(f"\n{stage}: the largest process had {peak / 1e6:.0f} MB")
        assert peak < MAX_BYTES
    found = endings(root)
    with capsys.disabled():
        print("\n".join(table([(c.kind, ended_as(c, found)) for c in chosen])))
    assert not wrong(chosen, found)
    assert len(found) == len(chosen)
    samples = Counter(read_index(Workspace(root).shards).texts("clip_id").to_pylist())
    assert len(samples) == sum(ending == "done" for ending in found.values())
    assert sorted(set(samples.values())) == [1, 40]  # of the crowd


def peak_of(command: list[str]) -> int:
    """Run a command; returns the most memory that any of its processes had, in bytes."""
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    ended, peak = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.2):
            try:
                tree = [process.pid, *(p.pid for p in psutil.Process(process.pid).children(True))]
            except psutil.Error:
                return
            peak[0] = max(peak[0], *map(high_water, tree))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = process.communicate()
    ended.set()
    watcher.join()
    assert process.returncode == 0, said.decode("utf-8", "replace")[-2_000:]
    return peak[0]
