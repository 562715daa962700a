"""`python -m avsep.bench.models`: the same as `avsep bench models`, on a bare machine too."""

from __future__ import annotations

import argparse
import sys

from avsep.bench.models.run import MODELS, run
from avsep.errors import AvsepError


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m avsep.bench.models", description=__doc__)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--seconds", default="", help="lengths of audio, e.g. 1,2,4,10 (dolphin)")
    parser.add_argument("--long", default="", help="lengths to separate in windows (dolphin)")
    parser.add_argument("--train", action="store_true", help="a training step too (dolphin)")
    parser.add_argument("--compile", action="store_true", help="torch.compile too (dolphin)")
    parser.add_argument("--dense-up-to", type=float, default=4.0, help="seconds (dolphin)")
    parser.add_argument("--weights", default="", help="a model file (dolphin)")
    parser.add_argument("--table", action="store_true", help="row by row (vovit, the default)")
    parser.add_argument("--batch", type=int, default=0, help="chunks at once (vovit)")
    parser.add_argument("--backend", default="", help="measure landmark extraction too (vovit)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--runs", type=int, default=0, help="warm runs; 0 for the default")
    parser.add_argument("--warm-ups", type=int, default=-1, help="runs before; -1 for the default")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 for its default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = vars(parser.parse_args())
    try:
        print(run(**options))
    except AvsepError as error:
        print(f"avsep: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
