"""Frozen dataclasses to parquet rows and back, with the schema taken from the dataclass."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, overload

from avsep.errors import CheckError
from avsep.files import read_table, write_table

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
ROWS_AT_ONCE = 10_000  # as Python objects


def arrow_schema(cls: type[Any]) -> pa.Schema:
    """The arrow schema of a dataclass, one column per field, in the order of the fields.

    Fields may be `str`, `int` (64 bits), `float` (64 bits) or `bool`, each also `| None`, and
    `tuple[X, ...]` or `dict[str, X]` of these.

    Raises:
        ValueError: a field has another type.
    """
    import pyarrow as pa

    hints = typing.get_type_hints(cls)
    columns = []
    for f in dataclasses.fields(cls):
        kind, nullable = _without_none(hints[f.name])
        columns.append(pa.field(f.name, _arrow_type(kind, f"{cls.__name__}.{f.name}"), nullable))
    return pa.schema(columns)


def write_rows(path: Path, rows: Iterable[Any], cls: type[Any] | None = None) -> None:
    """Write instances of one dataclass as a parquet table; the same rows give the same bytes.

    Args:
        path: path of the table; replaced atomically.
        rows: instances of one dataclass; an iterator of many is never held in memory as a whole.
        cls: the dataclass; needed only if `rows` may be empty.

    Raises:
        ValueError: there are no rows and no class, or a row has another class.
    """
    import pyarrow as pa

    waiting, parts = iter(rows), []
    while part := list(islice(waiting, ROWS_AT_ONCE)):
        cls = cls or type(part[0])
        for row in part:
            if type(row) is not cls:
                raise ValueError(
                    f"a row of {path.name} is a {type(row).__name__}, not {cls.__name__}."
                )
        parts.append(table_of(part, cls))
    if cls is None:
        raise ValueError(f"no rows for {path.name} and no class: pass cls to write_rows.")
    table = pa.concat_tables(parts) if parts else arrow_schema(cls).empty_table()
    write_table(path, table.combine_chunks())


def table_of(rows: Sequence[Any], cls: type[Any]) -> pa.Table:
    """Instances of a dataclass as an arrow table, see `arrow_schema`."""
    import pyarrow as pa

    schema = arrow_schema(cls)
    columns = [
        _column([_to_arrow(getattr(row, column.name)) for row in rows], column.type)
        for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class Rows(Sequence[T]):
    """The rows of a table as columns: a sequence of dataclasses, made when they are asked for.

    A million rows as Python objects take gigabytes; here they take what the columns do. It can be
    pickled; a part of a table then takes its own columns alone.
    """

    def __init__(self, table: pa.Table, cls: type[T], path: Path | str = "") -> None:
        """Wrap a table with the columns of `cls`; `path` is where it comes from, for errors."""
        self.table, self._cls, self._path = table, cls, path
        self._converters = [_converter(column.type) for column in table.schema]

    def __reduce__(self) -> Any:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        return _unpickled, (sink.getvalue().to_pybytes(), self._cls, self._path)

    def __repr__(self) -> str:
        return f"Rows({list(self)!r})"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> Rows[T]: ...
    def __getitem__(self, row: int | slice) -> T | Rows[T]:
        if isinstance(row, slice):
            first, last, step = row.indices(len(self))
            if step == 1:
                return self._with(self.table.slice(first, max(0, last - first)))
            return self.take(range(first, last, step))
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return next(self._made(row % len(self), 1))

    def __iter__(self) -> Iterator[T]:
        for first in range(0, len(self), ROWS_AT_ONCE):
            yield from self._made(first, ROWS_AT_ONCE)

    def take(self, rows: Any) -> Rows[T]:
        """The rows with these numbers, in this order."""
        import pyarrow as pa

        return self._with(self.table.take(pa.array(rows, pa.int64())))

    def changed(self, **columns: Any) -> Rows[T]:
        """The same rows with other values in some columns."""
        table = self.table
        for name, values in columns.items():
            number = table.schema.get_field_index(name)
            table = table.set_column(number, table.schema.field(number), values)
        return self._with(table)

    def _with(self, table: pa.Table) -> Rows[T]:
        return Rows(table, self._cls, self._path)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column."""
        return self.table[name]

    def tuples(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """The values of some columns, row by row."""
        for first in range(0, len(self), ROWS_AT_ONCE):
            part = [self.table[name].slice(first, ROWS_AT_ONCE).to_pylist() for name in names]
            yield from zip(*part, strict=True)

    def _made(self, first: int, count: int) -> Iterator[T]:
        part = self.table.slice(first, count)
        names = part.column_names
        columns = [
            [value if value is None or convert is None else convert(value) for value in values]
            for convert, values in zip(
                self._converters, (column.to_pylist() for column in part.columns), strict=True
            )
        ]
        for row in zip(*columns, strict=True) if columns else ():
            try:
                yield self._cls(**dict(zip(names, row, strict=True)))
            except ValueError as error:
                kind = self._cls.__name__
                raise CheckError(
                    f"{self._path} holds a row that is not a {kind}: {error}"
                ) from error


def _unpickled(content: bytes, cls: type[T], path: Path | str) -> Rows[T]:
    import pyarrow as pa

    return Rows(pa.ipc.open_stream(content).read_all(), cls, path)


def open_rows(path: Path, cls: type[T]) -> Rows[T]:
    """Read a table written by `write_rows` as columns; a row is checked when it is asked for.

    Raises:
        CheckError: the table is missing or damaged, or its columns are not the fields of `cls`.
    """
    import pyarrow as pa

    try:
        table = read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CheckError(f"{path} is damaged: {error}.") from error
    schema = arrow_schema(cls)
    if not table.schema.equals(schema):
        raise CheckError(f"{path} is not a table of {cls.__name__}: {_differences(table, schema)}.")
    return Rows(table, cls, path)


def read_rows(path: Path, cls: type[T]) -> list[T]:
    """Read a table written by `write_rows` as a list of `cls`.

    Raises:
        CheckError: the table is missing or damaged, its columns are not the fields of `cls`, or
            `cls` refuses a row.
    """
    return list(open_rows(path, cls))


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0], True
    return hint, False


def _arrow_type(kind: Any, where: str) -> pa.DataType:
    import pyarrow as pa

    scalars: dict[Any, pa.DataType] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
    }
    if kind in scalars:
        return scalars[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal and all(isinstance(value, str) for value in arguments):
        return pa.string()
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return pa.list_(pa.field("item", _arrow_type(arguments[0], where), nullable=False))
    if origin is dict and arguments[0] is str:
        return pa.map_(pa.string(), _arrow_type(arguments[1], where))
    raise ValueError(f"{where} has the type {kind}, which write_rows cannot store.")


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON and YAML can spell
        return pa.array([_escaped(value) for value in values], type=kind)


def _escaped(value: Any) -> Any:
    """A value whose texts all have an encoding."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list | tuple):  # a map is a list of pairs, which must stay tuples
        return type(value)(_escaped(part) for part in value)
    return value


def _to_arrow(value: Any) -> Any:
    # Sorted, so that equal dicts give the same bytes.
    return sorted(value.items()) if isinstance(value, Mapping) else value


def _converter(kind: pa.DataType) -> Any:
    import pyarrow as pa

    if pa.types.is_map(kind):
        return dict
    if pa.types.is_list(kind):
        return tuple
    return None


def _differences(table: pa.Table, schema: pa.Schema) -> str:
    wanted = {column.name: str(column.type) for column in schema}
    found = {column.name: str(column.type) for column in table.schema}
    parts = []
    if missing := [name for name in wanted if name not in found]:
        parts.append(f"it lacks {', '.join(missing)}")
    if extra := [name for name in found if name not in wanted]:
        parts.append(f"it has the unknown column(s) {', '.join(extra)}")
    parts += [
        f"{name} is {found[name]}, not {wanted[name]}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return "; ".join(parts) or "its columns differ in order or in what may be empty"
