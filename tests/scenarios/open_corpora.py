"""GRID, Lombard GRID and CREMA-D from a server on this machine with the layouts of theirs.

    python tests/scenarios/open_corpora.py [--keep FOLDER]

`avsep fetch` of each, cut once on the way; GRID then goes through `dvc repro` with tiny steps to a
table, Lombard GRID is separated with the model of GRID, and CREMA-D goes to shards. The clips are
demo heads, as MPEG-1, silent QuickTime with a sound file, and Flash video.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import yaml

from tests.scenarios.miniature_repro import NUM_CLIPS, talking_heads
from tests.scenarios.steps import ROOT, run, say
from tests.support import open_corpora
from tests.support.file_server import serving_files
from tests.support.other_containers import converted

SPEAKERS = tuple(f"s{n}" for n in range(1, 8))
TINY = {"steps": 4, "val_every": 2, "batch": 2, "seconds": 1.0}


def edit(project: Path, **sections: dict[str, Any]) -> None:
    """Merge settings into `params.yaml`."""

    def merge(old: Any, new: Any) -> Any:
        if not isinstance(old, dict) or not isinstance(new, dict):
            return new
        return old | {key: merge(old.get(key), value) for key, value in new.items()}

    params = merge(yaml.safe_load((project / "params.yaml").read_text("utf-8")), sections)
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")


def clone(here: Path, profile: str) -> Path:
    """A clone of the project with a profile."""
    run(here, "git", "clone", "-q", str(ROOT), profile)
    run(here / profile, "avsep", "profile", "use", profile)
    return here / profile


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="an absent folder for the projects")
    keep = parser.parse_args().keep
    with contextlib.ExitStack() as stack:
        if keep:
            keep.mkdir(parents=True)
            here = keep.resolve()
        else:
            here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="avsep-open-")))
        heads = talking_heads(here / "heads")
        server = stack.enter_context(serving_files())

        def make(number: int, suffix: str) -> bytes:
            return converted(heads[number % NUM_CLIPS], suffix)

        open_corpora.serve_grid(server, SPEAKERS, 2, make)
        open_corpora.serve_lombard(server, ("s2", "s3"), 2, make)
        open_corpora.serve_crema_d(server, ("1001", "1002"), 2, make)

        grid = clone(here, "grid")
        address = f"records/{open_corpora.GRID}/files/s4.zip"
        server.cuts = [address]
        run(grid, "avsep", "fetch", "grid", "--speakers", ",".join(SPEAKERS), "--clips", "2",
            "--server", server.base)  # fmt: skip
        count = len(server.asked)
        run(grid, "avsep", "fetch", "grid", "--speakers", ",".join(SPEAKERS), "--clips", "2",
            "--server", server.base)  # fmt: skip
        say("a second fetch asks only for what the archives list", len(server.asked) < 2 * count)
        tiny = TINY | {"seconds": 2.0}
        models = {name: {"fit": tiny} for name in ("dolphin", "vovit-s1", "vovit")}
        edit(
            grid,
            mix={"val_mixtures": 2, "test_mixtures": 2},
            pretrain={"devices": 1, "lipcoder": {"fit": TINY}},
            train={"devices": 1, **models},
            evaluate={"cost": False, "perceptual": [], "bootstrap_samples": 50},
        )
        run(grid, "dvc", "repro")
        table = run(grid, "avsep", "results")
        print(table)
        say("there is a table on speakers who are not in training", "not in training" in table)
        say("it says whether both faces are right", "both faces right" in table)

        lombard = clone(here, "lombard-grid")
        run(lombard, "avsep", "fetch", "lombard-grid", "--clips", "2", "--server", server.base)
        edit(lombard, mix={"test_mixtures": 2}, evaluate={"cost": False, "perceptual": []})
        run(lombard, "dvc", "repro", "mix")
        run(lombard, "avsep", "run", "evaluate", "--model", "dolphin")
        table = run(lombard, "avsep", "results")
        print(table)
        say("the model of GRID is tested on Lombard GRID", "2 mixtures" in table)

        crema = clone(here, "crema-d")
        run(crema, "avsep", "fetch", "crema-d", "--server", server.base)
        run(crema, "dvc", "repro", "extract")
        run(crema, "avsep", "verify", "data/shards", "--deep")


if __name__ == "__main__":
    main()
