"""One small whole file of each kind that is read."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import yaml

from avsep.schema import RawClip
from avsep.tables import write_rows
from tests.support.miniature import vox2_annotation
from tests.support.synthetic_workspace import make_workspace


def seed_files(folder: Path) -> Path:
    """Write the files; returns their folder."""
    workspace = make_workspace(folder / "project", num_frames=25)
    shutil.copytree(workspace.shards, folder / "shards")
    shutil.copy(workspace.shards / "train-000000.tar", folder)
    shutil.copy(workspace.mixtures / "val.jsonl", folder / "recipes.jsonl")
    settings = {"download": {"seed": 1}, "extract": {"workers": 2, "backend_options": {"a": 1.5}}}
    vox = "id00012_-4WQ2xQlAbc_00001"
    texts = {
        "params.yaml": yaml.safe_dump(settings),
        "speakers.csv": "file,speaker,gender,split\na.mp4,ann,f,train\nb.mp4,bob,m,test\n",
        "list.scp": f"/x/{vox}.wav 1.5 /y/{vox}.wav -1.5\n",
        "list.csv": "val,val,id00012,-4WQ2xQlAbc/00001,0,val,id00015,aaaaaaaaaaa/00001,-1,4\n",
        "annotation.txt": vox2_annotation("id00012", "-4WQ2xQlAbc"),
        "expression.txt": "asd_conf > 1 and abs(av_offset) <= 3",
        "journal.jsonl": '{"clip": {}}\n',
        "rows.jsonl": '{"a": 1}\n[2]\n',
        "value.json": json.dumps({"a": [1, 2.5, None, {"b": "x"}]}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    points = [np.arange(136, dtype=np.float32).reshape(68, 2)] * 3
    (folder / "landmarks.pkl").write_bytes(pickle.dumps(points))
    np.save(folder / "landmarks.npy", np.stack(points))
    row = RawClip(
        clip_id="a", corpus="x", speaker="s", group="s", gender="", split="train", path="a.mp4",
        sha256="0" * 64, size_bytes=1,
    )  # fmt: skip
    for name in ("raw.parquet", "any.parquet"):
        write_rows(folder / name, [row])
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"hello" * 100)
    return folder
