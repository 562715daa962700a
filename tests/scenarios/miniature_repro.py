"""Miniature VoxCeleb2, LRS2 and LRS3 in their official layouts, each to shards by `dvc repro`.

    python tests/scenarios/miniature_repro.py [--keep FOLDER]

For each corpus: a fresh clone of this project, `avsep profile use`, the root of the copy set in
`params.yaml`, `dvc repro extract`, then what a user would look at. Each command prints what it
took; the script ends with 1 where a promise does not hold. With `--keep` the projects stay.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import yaml

from avsep.corpora.demo import corpus as demo
from avsep.corpora.demo.corpus import DemoClip
from avsep.files import sha256_file
from avsep.media.encode import write_mp4
from tests.scenarios.steps import ROOT, run, say
from tests.support import miniature

NUM_FRAMES = 60  # 2.4 s; the profile of VoxCeleb2 wants 2 s
NUM_CLIPS = 14
SAME = ("data/raw.parquet", "data/clips/clips.parquet", "data/shards/index.parquet")


def talking_heads(folder: Path) -> list[Path]:
    """Clips of the demo corpus, each of its own sentence."""
    folder.mkdir()
    paths = []
    for number in range(NUM_CLIPS):
        clip = DemoClip(speaker=number % 2, number=number)
        talk = demo.talk(clip, seed=0, size=160, num_frames=NUM_FRAMES)
        paths.append(folder / f"{number}.mp4")
        write_mp4(paths[-1], (picture for picture, _ in talk.frames), talk.audio)
    return paths


def writer_of(heads: list[Path]) -> Callable[[Path, int], None]:
    """Copies the next talking head to the path of a clip."""
    left = iter(heads)

    def put(path: Path, _number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(left), path)

    return put


def set_corpus(project: Path, **settings: Any) -> None:
    """Edit the corpus's own section of `params.yaml`."""
    params = yaml.safe_load((project / "params.yaml").read_text("utf-8"))
    params["download"][params["download"]["corpus"]] |= settings
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")


def repro(here: Path, name: str, profile: str, *, clips: int, **settings: Any) -> Path:
    """A clone of the project, from `avsep profile use` to shards; returns it."""
    project = here / name
    run(here, "git", "clone", "-q", str(ROOT), name)
    run(project, "avsep", "profile", "use", profile)
    set_corpus(project, **settings)
    said = run(project, "dvc", "repro", "extract")
    for stage in ("download", "clean", "extract"):
        line = next(line for line in said.splitlines() if line.startswith(f"{stage}: "))
        print(f"        {line}")
    say(f"download brought all {clips} clips", f"download: {clips} done" in said)
    verified = run(project, "avsep", "verify", "data/shards", "--deep")
    print(f"        {verified.strip().splitlines()[-1]}")
    run(project, "avsep", "ledger", "check", "--deep")
    again = run(project, "dvc", "repro", "extract")
    say("a second `dvc repro extract` runs no stage", "Running stage" not in again)
    return project


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
            here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="avsep-mini-")))
        heads = talking_heads(here / "heads")

        vox = here / "vox2-archives"
        miniature.vox2_archives(vox, here / "vox2-tree", writer_of(heads))
        from_archives = repro(
            here, "voxceleb2", "voxceleb2", clips=14,
            root=str(vox), route="archives", checksums="md5.txt", val_share=0.7,
        )  # fmt: skip
        before = {name: sha256_file(from_archives / name) for name in SAME}
        set_corpus(from_archives, root=str(here / "vox2-tree"), route="tree", checksums="")
        run(from_archives, "dvc", "repro", "extract")
        after = {name: sha256_file(from_archives / name) for name in SAME}
        say("archives in parts and the extracted tree give the same tables", before == after)

        copy = miniature.lrs2_copy(here / "lrs2-copy", writer_of(heads))
        repro(here, "lrs2", "lrs2", clips=9, root=str(copy), check_counts=False, pretrain=True)

        copy = miniature.lrs3_copy(here / "lrs3-copy", writer_of(heads))
        repro(
            here, "lrs3", "lrs3", clips=8,
            root=str(copy), check_counts=False, val_list="lrs3-valid.id",
        )  # fmt: skip


if __name__ == "__main__":
    main()
