"""The file `train.json`: all that is needed to draw training mixtures on the fly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config import build
from pipeline.errors import CheckError, UsageError
from pipeline.mixing.protocols import STRICT_2MIX, VERSION, draw_training
from pipeline.mixing.voices import Voice, VoiceTable
from pipeline.schema import MixtureRecipe
from pipeline.storage import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class TrainingList:
    """The content of `train.json`.

    Attributes:
        protocol: always `strict-2mix`.
        version: of the protocol.
        seed: of the drawing.
        num_samples: length of a mixture at 16 kHz, unless the training wants another.
        min_activity: least share of a window's frames with speech.
        voices: the samples of the train split.
    """

    protocol: str
    version: int
    seed: int
    num_samples: int
    min_activity: float
    voices: tuple[Voice, ...]

    def __post_init__(self) -> None:
        if (self.protocol, self.version) != (STRICT_2MIX, VERSION):
            raise ValueError(
                f"the protocol is {self.protocol} {self.version}, not {STRICT_2MIX} {VERSION}; run"
                " the stage `mix` again."
            )


class TrainingDraw:
    """Draws training mixtures: a pure function of epoch and index. Small and picklable."""

    def __init__(self, listed: TrainingList, *, num_samples: int | None = None) -> None:
        """Prepare the drawing.

        Args:
            listed: the content of `train.json`.
            num_samples: length of a mixture at 16 kHz; that of the list when None.

        Raises:
            CheckError: no two voices may be mixed.
        """
        self.seed = listed.seed
        self.table = VoiceTable(
            listed.voices,
            listed.num_samples if num_samples is None else num_samples,
            listed.min_activity,
        )
        if not self.table.has_pairs:
            raise CheckError(
                f"the {len(self.table.speakers)} speakers of the train split give no mixture of"
                f" {self.table.num_samples} samples; add speakers of other groups, or choose"
                " shorter mixtures."
            )

    def __call__(self, number: int) -> MixtureRecipe:
        """The recipe of a number, without epochs."""
        return self.draw(0, number)

    def draw(self, epoch: int, index: int) -> MixtureRecipe:
        """The recipe of an index in an epoch."""
        return draw_training(self.table, self.seed, epoch, index)


def write_training(path: Path, listed: TrainingList) -> None:
    """Write `train.json`."""
    write_json(path, asdict(listed))


def read_training(path: Path, *, num_samples: int | None = None) -> TrainingDraw:
    """Read `train.json` and prepare the drawing.

    Args:
        path: of the file.
        num_samples: length of a mixture at 16 kHz, a multiple of 640; the file's when None.

    Raises:
        CheckError: missing, damaged, of another protocol, or no two voices may be mixed.
        ValueError: `num_samples` is no multiple of 640.
    """
    return TrainingDraw(read_training_list(path), num_samples=num_samples)


def read_training_list(path: Path) -> TrainingList:
    """Read the content of `train.json`.

    Raises:
        CheckError: missing, damaged or of another protocol.
    """
    try:
        return build(TrainingList, read_json(path), "train.json")
    except UsageError as error:
        raise CheckError(f"{path} is damaged: {error}") from error
