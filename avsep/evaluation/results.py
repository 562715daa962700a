"""One row of results for each (mixture, target voice, condition), and their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avsep.evaluation.problems import unpack
from avsep.schema import MixtureRecipe

# metric of the estimate -> improvement over the mixture, as the columns are called
IMPROVEMENTS = {"si_snr": "si_snri", "sdr": "sdri"}
SCORES = ("si_snr", "sdr", "sir", "pesq", "stoi", "estoi")
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """How well one voice of one mixture was separated under one condition.

    Attributes:
        mixture_id: of the recipe.
        target: index of the wanted voice in the recipe.
        condition: `own`, `other` or `none`, see `conditions.Condition`.
        key: sample key of the wanted voice: the cluster of the intervals.
        speaker: of the wanted voice.
        group: of the wanted voice.
        gender: of the wanted voice: `f`, `m` or empty.
        other_key: sample key of the interfering voice (the next one of the recipe).
        other_speaker: likewise.
        other_gender: likewise.
        pair: genders of both, sorted: `ff`, `fm`, `mm`, or empty where one is unknown.
        si_snr: of the estimate, in dB.
        si_snr_mixture: of the untouched mixture, in dB.
        si_snri: their difference, in dB.
        sdr: of the estimate, in dB (BSS-eval).
        sdr_mixture: of the mixture, in dB.
        sdri: their difference, in dB.
        sir: signal-to-interference ratio of the estimate, in dB (BSS-eval).
        sir_mixture: of the mixture, in dB.
        pesq: wide band, of the estimate.
        pesq_mixture: of the mixture.
        stoi: of the estimate, 0 to 1.
        stoi_mixture: of the mixture.
        estoi: of the estimate, up to 1.
        estoi_mixture: of the mixture.
        problems: why a metric that was asked for is NaN, see `problems.pack`. A NaN without a
            problem was not asked for.
    """

    mixture_id: str
    target: int
    condition: str
    key: str
    speaker: str
    group: str
    gender: str
    other_key: str
    other_speaker: str
    other_gender: str
    pair: str
    si_snr: float = NAN
    si_snr_mixture: float = NAN
    si_snri: float = NAN
    sdr: float = NAN
    sdr_mixture: float = NAN
    sdri: float = NAN
    sir: float = NAN
    sir_mixture: float = NAN
    pesq: float = NAN
    pesq_mixture: float = NAN
    stoi: float = NAN
    stoi_mixture: float = NAN
    estoi: float = NAN
    estoi_mixture: float = NAN
    problems: str = ""

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key; unique in a list of results."""
        return (self.mixture_id, self.target, self.condition)

    def lacks(self, metric: str) -> bool:
        """Whether `metric` was asked for and could not be had."""
        return metric in unpack(self.problems)


def pair_of(first: str, second: str) -> str:
    """Genders of a pair, sorted; empty where one is unknown."""
    return "".join(sorted((first, second))) if first and second else ""


def describe(recipe: MixtureRecipe, target: int) -> dict[str, str | int]:
    """The fields of a row that the recipe decides."""
    wanted = recipe.sources[target]
    other = recipe.sources[(target + 1) % len(recipe.sources)]
    return {
        "mixture_id": recipe.mixture_id,
        "target": target,
        "key": wanted.key,
        "speaker": wanted.speaker,
        "group": wanted.group,
        "gender": wanted.gender,
        "other_key": other.key,
        "other_speaker": other.speaker,
        "other_gender": other.gender,
        "pair": pair_of(wanted.gender, other.gender),
    }


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write rows as parquet, sorted, so that the same rows give the same bytes."""
    from avsep.tables import write_rows

    write_rows(path, sorted(rows, key=lambda row: row.order), ResultRow)


def read_results(path: Path) -> list[ResultRow]:
    """Read rows.

    Raises:
        CheckError: the file is missing or damaged.
    """
    from avsep.tables import read_rows

    return read_rows(path, ResultRow)
