"""The index of a set of shards: one row per sample, made from the JSON members alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsep.schema import FPS, SPLITS, check_id
from avsep.shards import tar
from avsep.shards.codecs import JSON, decode_json
from avsep.tables import read_rows, write_rows

INDEX_NAME = "index.parquet"


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """What mixing, training and reports need to know about a sample without opening its shard.

    Attributes:
        key: key of the sample.
        shard: file name of its shard.
        clip_id: id of the clip that it was cut from.
        corpus: name of the corpus, e.g. `demo`.
        speaker: id of the speaker.
        group: id of the group; speakers of one group are related.
        gender: `f`, `m` or empty.
        split: `train`, `val` or `test`.
        num_frames: length in frames, at 25 frames per second; the sound has 640 times as many
            samples.
        multi_voice: whether the clip has, or may have, more than one voice.
        level_dbfs: active level (ITU-T P.56) of the whole sample; NaN for silence.
        audio_sha256: sha256 of the sound as little-endian int16, whatever the storage.
        text: transcript, or empty.
        quality: scores by name; NaN for unknown.
    """

    key: str
    shard: str
    clip_id: str
    corpus: str
    speaker: str
    group: str
    gender: str
    split: str
    num_frames: int
    multi_voice: bool
    level_dbfs: float
    audio_sha256: str
    text: str
    quality: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_id(self.key)
        if self.split not in SPLITS:
            raise ValueError(f"split of {self.key} is {self.split!r}; it may be one of {SPLITS}.")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_frames / FPS


def row_of(meta: Mapping[str, Any], shard: str) -> IndexRow:
    """The index row of a sample, from its JSON member."""
    names = ("key", "clip_id", "corpus", "speaker", "group", "gender", "split")
    return IndexRow(
        **{name: meta[name] for name in names},
        shard=shard,
        num_frames=meta["num_frames"],
        multi_voice=meta["multi_voice"],
        level_dbfs=_number(meta["level_dbfs"]),
        audio_sha256=meta["audio_sha256"],
        text=meta["text"],
        quality={name: _number(value) for name, value in sorted(meta["quality"].items())},
    )


def rows_of_shard(path: Path) -> list[IndexRow]:
    """The index rows of a shard, from its JSON members, in file order.

    Raises:
        ValueError: the shard or a JSON member is damaged; names the member.
        OSError: the file cannot be opened.
    """
    rows = []
    for member in tar.scan(path):
        if member.suffix == JSON:
            try:
                rows.append(row_of(decode_json(tar.read(path, member)), path.name))
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{member.key}.{JSON} is damaged: {error}") from error
    return rows


def same_row(one: IndexRow, other: IndexRow) -> bool:
    """Whether two rows are equal; NaN equals NaN."""
    return _comparable(one) == _comparable(other)


def write_index(directory: Path, rows: Sequence[IndexRow]) -> Path:
    """Write `index.parquet`, sorted by shard and key; returns its path."""
    path = directory / INDEX_NAME
    write_rows(path, sorted(rows, key=lambda row: (row.shard, row.key)), IndexRow)
    return path


def read_index(directory: Path) -> list[IndexRow]:
    """The rows of `index.parquet`.

    Raises:
        CheckError: the index is missing or damaged.
    """
    return read_rows(directory / INDEX_NAME, IndexRow)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _comparable(row: IndexRow) -> Any:
    values = dict(vars(row), quality=sorted(row.quality.items()))
    return repr(sorted(values.items()))
