"""The index as Arrow tables: `index.parquet` for everyone, `index.arrow` to be mapped into memory.

Both have the same rows. The Arrow file is laid out for look-ups: names that repeat are codes, the
scores are columns of numbers, and `by_key` says which row comes how many-th in the order of the
keys. Processes that map it share its pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avsep.errors import CheckError
from avsep.files import atomic_path, read_table, write_table
from avsep.schema import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    import pyarrow as pa

INDEX_NAME = "index.parquet"
ARROW_NAME = "index.arrow"
CODED = ("shard", "corpus", "speaker", "group", "gender", "split")
PLACES = ("offsets", "sizes")  # columns that sets of format 1 lack
NUM_SAMPLES, BY_KEY = "num_samples", "by_key"


def write_tables(directory: Path, rows: pa.Table) -> None:
    """Write `index.parquet` and `index.arrow` atomically, sorted by shard and key.

    Args:
        directory: folder of the set.
        rows: columns of `IndexRow`.
    """
    import pyarrow.compute as pc

    rows = rows.sort_by([("shard", "ascending"), ("key", "ascending")])
    num_samples = pc.multiply(rows["num_frames"], SAMPLES_PER_FRAME)
    rows = rows.append_column(NUM_SAMPLES, num_samples)
    write_table(directory / INDEX_NAME, rows)
    write_arrow(directory, rows)


def write_arrow(directory: Path, rows: pa.Table) -> None:
    """Write `index.arrow` atomically from the sorted rows of `index.parquet`."""
    import pyarrow as pa

    table = mapped_form(rows)
    with (
        atomic_path(directory / ARROW_NAME) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def read_parquet(directory: Path, schema: pa.Schema) -> pa.Table:
    """The rows of `index.parquet`; columns of places are empty where the set has none.

    Raises:
        CheckError: the file is missing or damaged, or has other columns than `schema`.
    """
    import pyarrow as pa

    path = directory / INDEX_NAME
    try:
        table = read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CheckError(f"{path} is damaged: {error}.") from error
    wanted = [name for name in schema.names if name in table.column_names or name not in PLACES]
    if missing := [name for name in wanted if name not in table.column_names]:
        raise CheckError(f"{path} is not an index of shards: it lacks {', '.join(missing)}.")
    table = table.select(wanted)
    for number, field in enumerate(schema):
        if field.name not in wanted:
            empty = pa.array([[]] * len(table), field.type)
            table = table.add_column(number, field, empty)
    if not table.schema.equals(schema):
        raise CheckError(f"{path} is not an index of shards: a column has another type.")
    return table


def read_arrow(directory: Path, schema: pa.Schema) -> pa.Table:
    """The rows of `index.arrow`, mapped into memory.

    Args:
        directory: folder of the set.
        schema: the columns that the rows must have; the file has some of them in another form.

    Raises:
        CheckError: the file is damaged.
    """
    import pyarrow as pa

    path = directory / ARROW_NAME
    try:
        # By its number: Arrow takes no path that is not UTF-8.
        with path.open("rb") as file, pa.memory_map(f"/proc/self/fd/{file.fileno()}") as source:
            table = pa.ipc.open_file(source).read_all()
        # Also with a hash that fits: places outside the file would end the process, not raise.
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise CheckError(f"{path} is damaged: {error}.") from error
    _check_form(path, table, schema)
    return table


def _check_form(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Pass when a table has the columns of `index.arrow`, and `by_key` leads to its rows.

    What is looked up by number is used without further checks.

    Raises:
        CheckError: says what is wrong.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = {field.name: field.type for field in schema}
    wanted |= dict.fromkeys(CODED, pa.dictionary(pa.int32(), pa.string()))
    wanted |= {NUM_SAMPLES: pa.int64(), BY_KEY: pa.int32()}
    again = "run `avsep shards reindex` or copy the set again"
    if missing := [name for name in wanted if name not in table.column_names]:
        raise CheckError(
            f"{path} is not an index of shards: it lacks {', '.join(missing)}; {again}."
        )
    if twice := [name for name in wanted if table.column_names.count(name) > 1]:
        raise CheckError(
            f"{path} is not an index of shards: it has {', '.join(twice)} twice; {again}."
        )
    for name, kind in wanted.items():
        column = table[name]
        if name == "quality":
            fits = pa.types.is_struct(column.type) and all(
                field.type == pa.float64() for field in column.type
            )
        else:
            fits = column.type == kind and not column.null_count
        if not fits:
            raise CheckError(
                f"{path} is not an index of shards: {name} is {column.type} with"
                f" {column.null_count} gaps; {again}."
            )
    ends = pc.min_max(table[BY_KEY]).as_py()
    if len(table) and (ends["min"] < 0 or ends["max"] >= len(table)):
        raise CheckError(
            f"{path} is damaged: {BY_KEY} goes from {ends['min']} to {ends['max']}, beyond the"
            f" {len(table)} rows; {again}."
        )


def mapped_form(rows: pa.Table) -> pa.Table:
    """The rows of `index.parquet` in the form of `index.arrow`, in one piece."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {}
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        if name in CODED:
            column = pc.dictionary_encode(column)
        elif name == "quality":
            column = _scores(column)
        columns[name] = column
    if NUM_SAMPLES not in columns:
        columns[NUM_SAMPLES] = pc.multiply(columns["num_frames"], SAMPLES_PER_FRAME)
    columns[BY_KEY] = pc.sort_indices(columns["key"]).cast(pa.int32())
    return pa.table(columns)


def _scores(quality: pa.MapArray) -> pa.Array:
    """A map from names to scores in each row, as one column per name; null where a row has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = sorted(pc.unique(quality.keys).to_pylist())
    if not names:
        return pa.nulls(len(quality), pa.struct([]))
    return pa.StructArray.from_arrays([pc.map_lookup(quality, n, "first") for n in names], names)
