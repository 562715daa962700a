"""The scores of unprocessed mixtures, kept for the models that are evaluated later.

PESQ, STOI and SIR of a mixture take as long as those of an estimate, and are the same for every
model. The file is only a cache: if it is damaged or has other settings, the scores are computed
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.evaluation.problems import Problem
from avsep.evaluation.scoring import Result, UnprocessedScores
from avsep.files import read_json, write_json

# Problems that may not occur in another run or on another machine.
_TEMPORARY = {Problem.TIMED_OUT, Problem.CRASHED, Problem.PACKAGE_MISSING}


def read_unprocessed(path: Path, settings: str) -> UnprocessedScores:
    """Scores by mixture id and target; none if the file has other settings or is damaged.

    Args:
        path: a file that `write_unprocessed` wrote; it may be missing.
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


def write_unprocessed(path: Path, settings: str, scores: UnprocessedScores) -> None:
    """Write all scores but those that another run might still compute, e.g. after a timeout.

    Args:
        path: the JSON file, written atomically.
        settings: hash of everything that decides the scores.
        scores: scores by mixture id and target.
    """
    rows = [
        {
            "mixture_id": mixture_id,
            "target": target,
            "values": {k: None if k in problems else v for k, v in sorted(values.items())},
            "problems": {k: str(v) for k, v in sorted(problems.items())},
        }
        for (mixture_id, target), (values, problems) in sorted(scores.items())
        if not _TEMPORARY & set(problems.values())
    ]
    write_json(path, {"settings": settings, "scores": rows})


def _result(row: dict[str, Any]) -> Result:
    values = {str(k): float("nan") if v is None else float(v) for k, v in row["values"].items()}
    return values, {str(k): Problem(v) for k, v in row["problems"].items()}
