"""The file `train.parquet`: everything needed to draw training mixtures on the fly.

Its rows are the voices; the settings of drawing are in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from avsep.errors import CheckError, UsageError
from avsep.files import dump_json, read_table, write_table
from avsep.mixing.hash_random import HashRandom
from avsep.mixing.published_protocols import PROTOCOLS, find_protocol
from avsep.mixing.render import GetAudio
from avsep.mixing.voice_columns import Voices, voices_of
from avsep.mixing.voices import Voice, VoiceTable
from avsep.schema import MixtureRecipe
from avsep.settings import build

TRAINING_FILE = "train.parquet"
EARLIER_FILE = "train.json"  # of an earlier version
_METADATA = b"avsep"  # the settings as JSON, in the file's schema


@dataclass(frozen=True, kw_only=True)
class DrawSettings:
    """How training mixtures are drawn.

    Attributes:
        protocol: how mixtures are drawn, one of `avsep.mixing.published_protocols.PROTOCOLS`.
        version: version of the protocol.
        seed: seed of all mixtures.
        num_samples: length of a mixture at 16 kHz; a training may choose another.
        min_activity: least share of a window's frames with speech, 0..1.
    """

    protocol: str
    version: int
    seed: int
    num_samples: int
    min_activity: float

    def __post_init__(self) -> None:
        find_protocol(self.protocol, self.version)


@dataclass(frozen=True, kw_only=True)
class TrainingList(DrawSettings):
    """The content of `train.parquet`.

    Attributes:
        voices: voices of the train split.
    """

    voices: Sequence[Voice]


class TrainingDraw:
    """Draws training mixtures as a pure function of epoch and index.

    It can be pickled if `get_audio` can.
    """

    def __init__(
        self, listed: TrainingList, get_audio: GetAudio, *, num_samples: int | None = None
    ) -> None:
        """Prepare to draw.

        Args:
            listed: content of `train.parquet`.
            get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz; `strict-2mix`
                does not need it.
            num_samples: length of a mixture at 16 kHz; the list's length when None.

        Raises:
            CheckError: there are too few voices that may be mixed.
        """
        self.seed = listed.seed
        self._protocol = find_protocol(listed.protocol, listed.version)
        self._get_audio = get_audio
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
        check_enough(self.table, listed.protocol)

    def __call__(self, number: int) -> MixtureRecipe:
        """The recipe of a number, for training without epochs."""
        return self.draw(0, number)

    def draw(self, epoch: int, index: int) -> MixtureRecipe:
        """The recipe of an index in an epoch."""
        return self._protocol.training(
            self.table, self._get_audio, seed=self.seed, epoch=epoch, index=index
        )


def check_enough(table: VoiceTable, protocol: str) -> None:
    """Pass when the voices of training give at least one mixture of a protocol.

    Raises:
        CheckError: they do not.
    """
    try:
        PROTOCOLS[protocol].windows(table, HashRandom("are there enough"))
    except ValueError as error:
        raise CheckError(f"training by {protocol}: {error}") from error


def write_training(path: Path, listed: TrainingList) -> None:
    """Write `train.parquet`; the same list gives the same bytes."""
    settings = {f.name: getattr(listed, f.name) for f in fields(DrawSettings)}
    table = Voices.of(listed.voices).table()
    write_table(path, table.replace_schema_metadata({_METADATA: dump_json(settings, indent=None)}))


def read_training(
    path: Path, get_audio: GetAudio, *, num_samples: int | None = None
) -> TrainingDraw:
    """Read `train.parquet` and prepare to draw.

    Args:
        path: path of `train.parquet`.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.
        num_samples: length of a mixture at 16 kHz, a multiple of 640; the file's length when
            None.

    Raises:
        CheckError: the file is missing or damaged, its protocol is unknown, or there are too few
            voices that may be mixed.
        ValueError: `num_samples` is not a multiple of 640.
    """
    import pyarrow as pa

    draw = TrainingDraw(read_training_list(path), get_audio, num_samples=num_samples)
    pa.default_memory_pool().release_unused()  # what the decoding took: more than what is left
    return draw


def read_training_list(path: Path) -> TrainingList:
    """Read the content of `train.parquet`.

    Raises:
        CheckError: the file is missing or damaged, or its protocol is unknown.
    """
    check_not_earlier(path)
    table = read_table(path)
    voices = voices_of(table.replace_schema_metadata(), path)
    try:
        values = json.loads((table.schema.metadata or {})[_METADATA])
        settings = build(DrawSettings, values, path.name)
    except KeyError as error:
        raise CheckError(f"{path} is not a {TRAINING_FILE}; run the stage `mix` again.") from error
    except (UsageError, ValueError) as error:
        raise CheckError(f"{path} is damaged: {error}") from error
    return TrainingList(**vars(settings), voices=voices)


def check_not_earlier(path: Path) -> None:
    """Pass unless there is only a `train.json`, as earlier versions wrote it.

    Raises:
        CheckError: names the file and says what to do.
    """
    earlier = path.parent / EARLIER_FILE
    if not (path.name != EARLIER_FILE and path.is_file()) and earlier.is_file():
        raise CheckError(
            f"{earlier} was written by an earlier version; run the stage `mix` again, which writes"
            f" {TRAINING_FILE} instead."
        )
