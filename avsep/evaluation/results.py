"""The rows of results, one per mixture, wanted voice and condition, and their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avsep.evaluation.problems import unpack
from avsep.schema import MixtureRecipe

# metric -> name of the column with its improvement over the unprocessed mixture
IMPROVEMENTS = {"si_snr": "si_snri", "sdr": "sdri"}
SCORES = ("si_snr", "sdr", "sir", "pesq", "stoi", "estoi")
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """How well one voice of one mixture was separated under one condition.

    Attributes:
        mixture_id: id of the mixture's recipe.
        target: index of the wanted voice in the recipe.
        condition: `own`, `other`, `none` or a damage, see `EvaluateConfig.conditions`.
        key: sample key of the wanted voice; the intervals are clustered by it.
        speaker: speaker of the wanted voice.
        group: group (base voice, programme) of the wanted voice.
        gender: gender of the wanted voice: `f`, `m` or empty.
        other_key: sample key of the interfering voice (the next one in the recipe).
        other_speaker: speaker of the interfering voice.
        other_gender: gender of the interfering voice: `f`, `m` or empty.
        pair: genders of both voices, sorted: `ff`, `fm`, `mm`, or empty if one is unknown.
        si_snr: SI-SNR of the estimate, in dB.
        si_snr_mixture: SI-SNR of the unprocessed mixture, in dB; as for all figures of the
            mixture, of the damaged one if the condition damages the sound.
        si_snri: improvement in SI-SNR, in dB.
        sdr: BSS-eval SDR of the estimate, in dB.
        sdr_mixture: BSS-eval SDR of the unprocessed mixture, in dB.
        sdri: improvement in SDR, in dB.
        sir: BSS-eval signal-to-interference ratio of the estimate, in dB.
        sir_mixture: BSS-eval signal-to-interference ratio of the unprocessed mixture, in dB.
        pesq: wide-band PESQ of the estimate.
        pesq_mixture: wide-band PESQ of the unprocessed mixture.
        stoi: STOI of the estimate, 0 to 1.
        stoi_mixture: STOI of the unprocessed mixture, 0 to 1.
        estoi: ESTOI of the estimate, up to 1.
        estoi_mixture: ESTOI of the unprocessed mixture, up to 1.
        margin_db: SI-SNR of the estimate against its own voice minus the highest against another
            voice, in dB; see `both_faces`.
        overlap: largest correlation with the estimate of another voice under this condition, 0..1.
        problems: why a requested metric is NaN, see `problems.pack`. A NaN without a problem was
            not requested.
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
    margin_db: float = NAN
    overlap: float = NAN
    problems: str = ""

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key; unique within a list of results."""
        return (self.mixture_id, self.target, self.condition)

    def lacks(self, metric: str) -> bool:
        """Whether `metric` was requested but could not be computed."""
        return metric in unpack(self.problems)


def pair_of(first: str, second: str) -> str:
    """Genders of a pair, sorted; empty if one is unknown."""
    return "".join(sorted((first, second))) if first and second else ""


def describe(recipe: MixtureRecipe, target: int) -> dict[str, str | int]:
    """The fields of a row that come from the recipe."""
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
    """Write rows to a parquet file, sorted: the same rows give the same bytes."""
    from avsep.tables import write_rows

    write_rows(path, sorted(rows, key=lambda row: row.order), ResultRow)


def read_results(path: Path) -> list[ResultRow]:
    """Read the rows of a parquet file.

    Raises:
        CheckError: the file is missing or damaged.
    """
    from avsep.tables import read_rows

    return read_rows(path, ResultRow)
