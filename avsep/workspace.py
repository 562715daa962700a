"""The folders of a project: a stage is a verb, and its folder under `data/` the noun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avsep.errors import UsageError

PARAMS = "params.yaml"


@dataclass(frozen=True)
class Workspace:
    """The folders of one project.

    Attributes:
        root: the project folder, which holds `params.yaml` and `data/`.
    """

    root: Path

    @property
    def data(self) -> Path:
        """All data of the project."""
        return self.root / "data"

    @property
    def raw(self) -> Path:
        """Raw clips, or links to them. Not tracked: only their table is."""
        return self.data / "raw"

    @property
    def raw_table(self) -> Path:
        """`download`: one row per raw clip, with its sha256."""
        return self.data / "raw.parquet"

    @property
    def clips(self) -> Path:
        """`clean`: `clips.parquet` and `drops.json`."""
        return self.data / "clips"

    @property
    def shards(self) -> Path:
        """`extract`: WebDataset shards, `manifest.json`, `index.parquet`, `index.arrow`."""
        return self.data / "shards"

    @property
    def shard_plan(self) -> Path:
        """`extract`: which clip is in which shard, so that a set grows without changing."""
        return self.data / "plan.parquet"

    @property
    def mixtures(self) -> Path:
        """`mix`: recipes of mixtures."""
        return self.data / "mixtures"

    @property
    def lipcoder(self) -> Path:
        """`pretrain`: the pretrained lip encoder of Dolphin."""
        return self.data / "lipcoder"

    def run(self, model: str) -> Path:
        """`train`: checkpoints, logs and metrics of one model."""
        return self.data / "runs" / model

    def evaluation(self, model: str) -> Path:
        """`evaluate`: per-mixture results and metrics of one model."""
        return self.data / "evaluations" / model

    @property
    def report(self) -> Path:
        """`report`: the page."""
        return self.data / "report"

    @property
    def ledger(self) -> Path:
        """The ledger: how every item of every stage ended."""
        return self.data / "ledger.sqlite"

    def work(self, stage: str) -> Path:
        """Resumable work of a stage, outside its outs (DVC deletes outs before a stage runs)."""
        return self.data / ".work" / stage


def find_project(root: Path | None = None) -> Workspace:
    """The project that a command works on.

    Args:
        root: the project folder; None takes the nearest one at or above the current folder.

    Raises:
        UsageError: there is no project; nothing is written.
    """
    start = (root or Path()).resolve()
    for folder in [start] if root is not None else [start, *start.parents]:
        if (folder / PARAMS).is_file():
            return Workspace(folder)
    where = start if root is not None else f"neither {start} nor a folder above it"
    verb = "is not" if root is not None else "is"
    raise UsageError(
        f"{where} {verb} an avsep project: it has no {PARAMS}. Change to the project folder or"
        " name it with --root."
    )
