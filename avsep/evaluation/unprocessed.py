"""The scores of mixtures that no model has touched, kept for the models that come after.

PESQ, STOI and SIR of a mixture take as long as those of an estimate, and are the same for every
model. Whatever is wrong with the file, or was decided otherwise, only costs that time again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.evaluation.problems import Problem
from avsep.evaluation.scoring import Result, Untouched
from avsep.files import read_json, write_json

# Another run, or another machine, may do better.
_PASSING = {Problem.TIMED_OUT, Problem.CRASHED, Problem.PACKAGE_MISSING}


def read_untouched(path: Path, settings: str) -> Untouched:
    """Scores by mixture id and target; none where the file has other settings or is damaged.

    Args:
        path: see `write_untouched`.
        settings: hash of everything that decides the scores.
    """
    try:
        content = read_json(path)
        if content["settings"] != settings:
            return {}
        return {
            (str(row["mixture_id"]), int(row["target"])): _result(row) for row in content["scores"]
        }
    except (CheckError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def write_untouched(path: Path, settings: str, scores: Untouched) -> None:
    """Keep the scores that would be found again: the reason of a missing one may pass.

    Args:
        path: a JSON file, written atomically.
        settings: hash of everything that decides the scores.
        scores: by mixture id and target.
    """
    rows = [
        {
            "mixture_id": mixture_id,
            "target": target,
            "values": {k: None if k in problems else v for k, v in sorted(values.items())},
            "problems": {k: str(v) for k, v in sorted(problems.items())},
        }
        for (mixture_id, target), (values, problems) in sorted(scores.items())
        if not _PASSING & set(problems.values())
    ]
    write_json(path, {"settings": settings, "scores": rows})


def _result(row: dict[str, Any]) -> Result:
    values = {str(k): float("nan") if v is None else float(v) for k, v in row["values"].items()}
    return values, {str(k): Problem(v) for k, v in row["problems"].items()}
