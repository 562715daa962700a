"""What `avsep export huggingface` writes, read by the `datasets` library itself.

    python tests/scenarios/hugging_face.py PROJECT --python PYTHON

PROJECT is a folder with shards; it is only read. PYTHON is that of an environment of its own
(`python -m venv there; there/bin/pip install datasets torch torchcodec`; torchcodec needs FFmpeg's
libraries on the machine), since `datasets` is none of our dependencies. Every sound must be the
shards' bit by bit, every video as long as its row says. Ends with 1 where a promise does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from steps import ROOT, environment, run, say

READ = """
import hashlib, json, sys
import datasets, torch

told = {"version": datasets.__version__}
for kind in ("audio", "video"):
    loaded = datasets.load_dataset(f"{sys.argv[1]}/{kind}")
    told[kind] = {}
    for split, rows in loaded.items():
        right = 0
        for row in rows:
            if kind == "audio":
                samples = row["audio"].get_all_samples()
                sound = (samples.data[0] * 32768).to(torch.int16).numpy().astype("<i2")
                same = hashlib.sha256(sound.tobytes()).hexdigest() == row["audio_sha256"]
                right += samples.sample_rate == 16000 and len(samples.data) == 1 and same
            else:
                right += len(row["video"]) == row["num_frames"]
        told[kind][split] = {
            "rows": len(rows), "right": right, "columns": sorted(rows.column_names),
            "types": {name: str(rows.features[name].dtype) for name in ("text", "num_frames")},
        }
print(json.dumps(told))
"""


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--python", required=True, help="of an environment with `datasets`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avsep-hf-") as temporary:
        out = Path(temporary) / "hf"
        root = str(arguments.project.resolve())
        run(ROOT, "avsep", "export", "huggingface", "--out", str(out), "--root", root)
        done = subprocess.run(
            [arguments.python, "-c", READ, str(out)],
            env=os.environ | {"HF_HOME": f"{temporary}/home", "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        told = json.loads(done.stdout.splitlines()[-1])
        print(f"read by datasets {told['version']}")
        code = (
            "import json, sys; from avsep.shards.store import ShardStore\n"
            "print(json.dumps([row.split for row in ShardStore(sys.argv[1]).index]))"
        )
        listed = subprocess.run(
            [sys.executable, "-c", code, f"{root}/data/shards"],
            env=environment(ROOT), capture_output=True, text=True, check=True,
        )  # fmt: skip
        counts = Counter(json.loads(listed.stdout))
        names = {"train": "train", "val": "validation", "test": "test"}
        wanted = {names[split]: count for split, count in counts.items()}
        for kind in ("audio", "video"):
            found = {split: facts["rows"] for split, facts in told[kind].items()}
            say(f"{kind}: {found} samples, as in the shards", found == wanted)
            say(
                f"{kind}: every file is its row's, decoded",
                all(facts["right"] == facts["rows"] for facts in told[kind].values()),
            )
            columns = {tuple(facts["columns"]) for facts in told[kind].values()}
            say(f"{kind}: columns {', '.join(next(iter(columns)))}", len(columns) == 1)
            types = [facts["types"] for facts in told[kind].values()]
            say(
                f"{kind}: texts are texts, numbers are numbers",
                all(one == {"text": "string", "num_frames": "int64"} for one in types),
            )


if __name__ == "__main__":
    main()
