"""Experiments on a finished project: another setting, what it changed, and the plots of both.

    python tests/scenarios/experiments.py PROJECT [--model vovit] [--steps 4]

PROJECT is a folder in which `dvc repro` has run; it is only read. One model is trained for a few
steps at two rates by `dvc exp run`; `dvc metrics diff` must show that model's figures and no
others', and nothing may be made again that the setting does not reach.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from steps import commit, copy_finished, run, say

from avsep.evaluation.summary import FACES, HEADLINE


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--model", default="vovit", choices=("dolphin", "vovit-s1", "vovit"))
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    fit = f"train.{arguments.model}.fit"
    short = [("-S", f"{fit}.{key}={arguments.steps}") for key in ("steps", "val_every")]
    settings = [word for pair in short for word in pair]
    with tempfile.TemporaryDirectory(prefix="avsep-experiments-") as temporary:
        lab = Path(temporary) / "lab"
        copy_finished(arguments.project, lab)
        commit(lab, "a finished project")

        said = run(lab, "dvc", "exp", "run", "-n", "short", *settings)
        ran = {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}
        say(f"it ran {', '.join(sorted(ran))}", {f"train@{arguments.model}", "report"} <= ran)
        others = {stage for stage in ran if stage.startswith(("train@", "evaluate@"))}
        # vovit is built on vovit-s1, and follows it.
        say("no other model was made again", all(arguments.model in stage for stage in others))
        changed = json.loads(run(lab, "dvc", "metrics", "diff", "--json"))
        say(
            "`dvc metrics diff` tells what changed",
            any(arguments.model in Path(path).parts for path in changed),
        )

        shown = json.loads(run(lab, "dvc", "metrics", "show", "--json"))[""]["data"]
        say(
            "`dvc metrics show` has six numbers per model",
            all(len(file["data"]) == len(HEADLINE) + len(FACES) for file in shown.values()),
        )

        run(lab, "dvc", "exp", "run", "-n", "higher", "-S", f"{fit}.lr=0.01")
        print(run(lab, "dvc", "params", "diff", "short", "higher", "--md"))
        told = run(lab, "dvc", "metrics", "diff", "short", "higher", "--md").splitlines()
        print("\n".join([*told[:2], *(row for row in told if arguments.model in row)]))
        print(run(lab, "dvc", "exp", "list", "--name-only"))
        run(lab, "dvc", "plots", "diff", "HEAD", "short", "higher", "-o", "plots")
        page = (lab / "plots" / "index.html").read_text("utf-8")
        say(
            "the plots of all three are in one page that loads nothing",
            'src="http' not in page and all(f'"rev": "{r}"' in page for r in ("short", "higher")),
        )
        run(lab, "dvc", "exp", "apply", "short")
        say("an experiment is taken over as it was", "up to date" in run(lab, "dvc", "status"))


if __name__ == "__main__":
    main()
