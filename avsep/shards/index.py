"""The index of a set of shards: one row per sample, made from the shards alone."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from avsep.errors import CheckError
from avsep.schema import FPS, ID, SAMPLES_PER_FRAME, SPLITS, check_id
from avsep.shards import tar
from avsep.shards.codecs import JSON, decode_json
from avsep.shards.index_table import (
    ARROW_NAME,
    BY_KEY,
    INDEX_NAME,
    PLACES,
    mapped_form,
    read_arrow,
    read_parquet,
    write_tables,
)
from avsep.shards.manifest import SHARD_NAME
from avsep.tables import arrow_schema, table_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from avsep.shards.manifest import Manifest

__all__ = [
    "ARROW_NAME",
    "INDEX_NAME",
    "Index",
    "IndexRow",
    "read_index",
    "row_of",
    "rows_of_shard",
    "same_row",
    "write_index",
]

_NAMES = {"shard": SHARD_NAME, "speaker": ID, "group": ID}
ROWS_PER_PART = 10_000  # as Python objects at one time


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
        offsets: where the content of each member begins in the shard, in bytes, in the order of
            the manifest's `members`; empty if unknown.
        sizes: size of each member's content in bytes.
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
    # Not part of what a sample is: settings that are hashed by `repr` leave them out.
    offsets: tuple[int, ...] = field(default=(), repr=False)
    sizes: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for value in (self.key, self.clip_id, self.speaker, self.group):
            check_id(value)
        if self.split not in SPLITS:
            raise ValueError(f"split of {self.key} is {self.split!r}; it may be one of {SPLITS}.")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_frames / FPS

    @property
    def num_samples(self) -> int:
        """Length of the sound at 16 kHz."""
        return self.num_frames * SAMPLES_PER_FRAME


def row_of(meta: Mapping[str, Any], shard: str, members: Sequence[tar.Member] = ()) -> IndexRow:
    """The index row of a sample, from its JSON member and the places of all its members."""
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
        offsets=tuple(member.offset for member in members),
        sizes=tuple(member.size for member in members),
    )


def rows_of_shard(path: Path) -> list[IndexRow]:
    """The index rows of a shard, from its headers and JSON members, in file order.

    Raises:
        ValueError: the shard or a JSON member is damaged; names the member.
        OSError: the file cannot be opened.
    """
    rows = []
    for key, group in groupby(tar.scan(path), key=lambda member: member.key):
        members = list(group)
        for member in members:
            if member.suffix == JSON:
                try:
                    meta = decode_json(tar.read(path, member))
                    rows.append(row_of(meta, path.name, members))
                except (ValueError, TypeError, AttributeError, KeyError) as error:
                    raise ValueError(f"{key}.{JSON} is damaged: {error}") from error
    return rows


def same_row(one: IndexRow, other: IndexRow) -> bool:
    """Whether two rows say the same of a sample, wherever it lies; NaN equals NaN."""
    return _comparable(one) == _comparable(other)


def write_index(directory: Path, rows: Iterable[IndexRow]) -> Path:
    """Write `index.parquet`, sorted by shard and key, and `index.arrow`; returns the first's path.

    Args:
        directory: folder of the set.
        rows: rows in any order; an iterator of many rows is never held in memory as a whole.
    """
    import pyarrow as pa

    schema = arrow_schema(IndexRow)
    waiting = iter(rows)
    tables = [schema.empty_table()]
    while part := list(islice(waiting, ROWS_PER_PART)):
        tables.append(table_of(part, IndexRow))
    write_tables(directory, pa.concat_tables(tables))
    return directory / INDEX_NAME


def read_index(directory: Path, manifest: Manifest | None = None) -> Index:
    """The index of a set: `index.arrow`, or `index.parquet` where the set has no such file.

    Args:
        directory: folder of the set.
        manifest: manifest of the set; an `index.arrow` that it does not list is not read.

    Raises:
        CheckError: the index is missing or damaged.
    """
    schema = arrow_schema(IndexRow)
    # A file that the manifest does not list may be old, or left by a kill.
    listed = manifest is None or manifest.arrow_sha256
    if listed and (directory / ARROW_NAME).is_file():
        index = Index(read_arrow(directory, schema))
    else:
        index = Index(mapped_form(read_parquet(directory, schema)))
    if (np.diff(index.codes("shard")[0]) < 0).any():  # the samples of a shard are found by it
        raise CheckError(
            f"the index of {directory} is damaged: its rows are not in the order of the shards; run"
            " `avsep shards reindex` or copy the set again."
        )
    return index


class Index(Sequence[IndexRow]):
    """The rows of an index, sorted by shard and key, as columns: no Python object per row.

    It is a sequence of `IndexRow`, which are made when they are asked for. Work on many rows should
    use the columns instead.
    """

    def __init__(self, table: pa.Table) -> None:
        """Wrap a table in the form of `index.arrow`."""
        self._columns = {name: _single(table[name]) for name in table.column_names}
        for name, wanted in _NAMES.items():
            _check_names(name, self._columns[name].dictionary.to_pylist(), wanted)
        self._by_key = self.column(BY_KEY)
        self._codes: dict[str, tuple[NDArray[np.int32], list[str]]] = {}
        self._spans: dict[str, tuple[NDArray[np.intp], dict[str, slice]]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @overload
    def __getitem__(self, position: int) -> IndexRow: ...
    @overload
    def __getitem__(self, position: slice) -> list[IndexRow]: ...
    def __getitem__(self, position: int | slice) -> IndexRow | list[IndexRow]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"row {position} of {len(self)}")
        return next(self._rows(position % len(self), 1))

    def __iter__(self) -> Iterator[IndexRow]:
        for first in range(0, len(self), ROWS_PER_PART):
            yield from self._rows(first, ROWS_PER_PART)

    def column(self, name: str) -> NDArray[Any]:
        """The numbers of a column, (rows,), read-only: `num_frames`, `num_samples`, `level_dbfs`,
        `multi_voice` or `by_key`.
        """
        return self._columns[name].to_numpy(zero_copy_only=False)

    def texts(self, name: str) -> pa.StringArray:
        """The texts of a column without codes: `key`, `clip_id`, `audio_sha256` or `text`."""
        return self._columns[name]

    def codes(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """The codes of a column, (rows,), and the texts that they stand for.

        Args:
            name: one of `index_table.CODED`: `shard`, `corpus`, `speaker`, `group`, `gender`,
                `split`.
        """
        if name not in self._codes:
            column = self._columns[name]
            codes = column.indices.to_numpy(zero_copy_only=False)
            self._codes[name] = codes, column.dictionary.to_pylist()
        return self._codes[name]

    def scores(self) -> dict[str, NDArray[np.float64]]:
        """All quality scores, (rows,) each, by name; NaN where a row has none."""
        quality = self._columns["quality"]
        return {
            field.name: quality.field(number).to_numpy(zero_copy_only=False)
            for number, field in enumerate(quality.type)
        }

    def position(self, key: str) -> int | None:
        """The number of the row of a sample, or None."""
        keys = self._columns["key"]
        rank = bisect_left(self._by_key, key, key=lambda row: keys[int(row)].as_py())
        if rank < len(self) and keys[int(self._by_key[rank])].as_py() == key:
            return int(self._by_key[rank])
        return None

    def positions(self, name: str, value: str) -> NDArray[np.int64]:
        """The numbers of the rows with a value, rising.

        Args:
            name: one of the columns with codes, e.g. `speaker`.
            value: e.g. the id of the speaker; unknown ones have no rows.
        """
        if name not in self._spans:
            codes, values = self.codes(name)
            ends = np.cumsum(np.bincount(codes, minlength=len(values)))
            spans = map(slice, [0, *ends[:-1]], ends)
            order = np.argsort(codes, kind="stable")
            self._spans[name] = order, dict(zip(values, spans, strict=True))
        order, span_of = self._spans[name]
        return order[span_of.get(value, slice(0))]

    def places(self, position: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Offsets and sizes in bytes of a sample's members in its shard, in the manifest's order.

        Both are empty if the set was written without them.
        """
        offsets, sizes = (self._columns[name][position].as_py() for name in PLACES)
        return tuple(offsets), tuple(sizes)

    def text(self, name: str, position: int) -> str:
        """The text of a column in one row."""
        return str(self._columns[name][position].as_py())

    def _rows(self, first: int, count: int) -> Iterator[IndexRow]:
        names = [field.name for field in fields(IndexRow)]
        values = [self._columns[name].slice(first, count).to_pylist() for name in names]
        for row in zip(*values, strict=True):
            made: dict[str, Any] = dict(zip(names, row, strict=True))
            scores = made["quality"] or {}  # null where no row has a score
            made["quality"] = {name: v for name, v in scores.items() if v is not None}
            try:
                yield IndexRow(**made | {name: tuple(made[name]) for name in PLACES})
            except (ValueError, TypeError) as error:
                raise CheckError(f"an index of shards has a damaged row: {error}") from error


def _check_names(column: str, values: list[Any], wanted: re.Pattern[str]) -> None:
    """Pass where the names of a column are names: some become parts of paths.

    Raises:
        CheckError: names the first that is not.
    """
    for value in values:
        if not isinstance(value, str) or not wanted.fullmatch(value):
            raise CheckError(f"an index of shards has the {column} {value!r}, which is not a name.")


def _single(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _comparable(row: IndexRow) -> Any:
    values = {name: value for name, value in vars(row).items() if name not in PLACES}
    return repr(sorted((values | {"quality": sorted(row.quality.items())}).items()))
