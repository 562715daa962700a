"""Many voices as columns, in memory and in files.

The voices of a large set are never Python objects all at once: 1.1 million take about 250 MB as
columns, which forked and spawned processes share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from avsep.errors import CheckError
from avsep.files import read_table, write_table
from avsep.mixing.voice import Voice, frames_needed

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

ROWS_AT_ONCE = 10_000  # as Python objects
FRAMES_AT_ONCE = 1_000_000  # whose speech is held in memory while windows are looked for
_CODED = ("speaker", "group", "gender")


def voice_schema() -> pa.Schema:
    """The columns of a file of voices: the fields of `Voice`, `active` as a flat list of edges."""
    import pyarrow as pa

    coded = pa.dictionary(pa.int32(), pa.string())
    edges = pa.list_(pa.field("item", pa.int32(), nullable=False))
    columns = {"key": pa.string(), "speaker": coded, "group": coded, "gender": coded}
    columns |= {"num_frames": pa.int32(), "level_dbfs": pa.float64(), "sha256": pa.string()}
    columns |= {"active": edges}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


class Voices(Sequence[Voice]):
    """Voices as columns. A sequence of `Voice`, which are made when they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        """Wrap a table with the columns of `voice_schema`."""
        self._descriptor = -1  # of the columns in shared memory
        table = table.unify_dictionaries().combine_chunks()
        self._columns = {
            name: table[name].chunk(0) if len(table) else table[name].combine_chunks()
            for name in table.column_names
        }
        self.num_frames = self._numbers("num_frames")
        self.level_dbfs = self._numbers("level_dbfs")
        active = self._columns["active"]
        self._ends = active.offsets.to_numpy(zero_copy_only=False)
        self._edges = active.values.to_numpy(zero_copy_only=False)
        self._names = {name: self.codes(name)[1] for name in _CODED}
        self._codes = {name: self.codes(name)[0] for name in _CODED}

    @classmethod
    def of(cls, voices: Iterable[Voice]) -> Voices:
        """Voices that are at hand as objects, as columns."""
        import pyarrow as pa

        if isinstance(voices, Voices):
            return voices
        listed = list(voices)
        values: dict[str, list[Any]] = {
            name: [getattr(voice, name) for voice in listed] for name in voice_schema().names
        }
        values["active"] = [[edge for run in runs for edge in run] for runs in values["active"]]
        return cls(pa.table(values, schema=voice_schema()))

    @classmethod
    def joined(cls, parts: Sequence[Voices]) -> Voices:
        """The voices of several files."""
        import pyarrow as pa

        tables = [part.table() for part in parts] or [voice_schema().empty_table()]
        return cls(pa.concat_tables(tables))

    def table(self, rows: NDArray[Any] | None = None) -> pa.Table:
        """The voices as an Arrow table: all, or some rows in this order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = self._columns
        if rows is not None:
            columns = {name: column.take(pa.array(rows)) for name, column in columns.items()}
            # In the order of these rows, without the names that none of them has.
            for name in _CODED:
                columns[name] = pc.dictionary_encode(columns[name].cast(pa.string()))
        return pa.table(columns, schema=voice_schema())

    def __reduce__(self) -> Any:
        """A spawned process maps the columns of this one; other pickles hold them."""
        if get_spawning_popen() is None:
            import pyarrow as pa

            sink = pa.BufferOutputStream()
            _write_ipc(sink, self.table())
            return _unpickled, (sink.getvalue().to_pybytes(),)
        return _mapped, (DupFd(self._shared()),)

    def _shared(self) -> int:
        """A descriptor of the columns in memory without a name, which all processes share."""
        if self._descriptor < 0:
            self._descriptor = os.memfd_create("avsep-voices")
            import pyarrow as pa

            with pa.OSFile(f"/proc/self/fd/{self._descriptor}", "wb") as sink:
                _write_ipc(sink, self.table())
        return self._descriptor

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def __len__(self) -> int:
        return len(self.num_frames)

    @overload
    def __getitem__(self, row: int) -> Voice: ...
    @overload
    def __getitem__(self, row: slice) -> list[Voice]: ...
    def __getitem__(self, row: int | slice) -> Voice | list[Voice]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"voice {row} of {len(self)}")
        row %= len(self)
        edges = self._edges[self._ends[row] : self._ends[row + 1]].tolist()
        names = {name: self._names[name][self._codes[name][row]] for name in _CODED}
        return Voice(
            key=self._columns["key"][row].as_py(),
            **names,
            num_frames=int(self.num_frames[row]),
            level_dbfs=float(self.level_dbfs[row]),
            sha256=self._columns["sha256"][row].as_py(),
            active=tuple(zip(edges[::2], edges[1::2], strict=True)),
        )

    def __iter__(self) -> Iterator[Voice]:
        return (self[row] for row in range(len(self)))

    def rows(self, *names: str) -> Iterator[tuple[str, ...]]:
        """The texts of some columns, voice by voice."""
        for first in range(0, len(self), ROWS_AT_ONCE):
            columns = [self._columns[name].slice(first, ROWS_AT_ONCE).to_pylist() for name in names]
            yield from zip(*columns, strict=True)

    def texts(self, name: str) -> pa.StringArray:
        """The texts of a column without codes: `key` or `sha256`."""
        return self._columns[name]

    def codes(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """The codes of `speaker`, `group` or `gender`, (voices,), and the texts they stand for."""
        column = self._columns[name]
        return column.indices.to_numpy(zero_copy_only=False), column.dictionary.to_pylist()

    def have_window(self, num_frames: int, min_activity: float) -> NDArray[np.bool_]:
        """Which voices have a level and a window with enough speech, (voices,).

        Args:
            num_frames: length of the window in frames.
            min_activity: least share of the window's frames with speech, 0..1.
        """
        found = np.isfinite(self.level_dbfs) & (self.num_frames >= num_frames)
        ends = np.cumsum(self.num_frames.astype(np.int64) + 1)  # one more: runs may end there
        needed = frames_needed(num_frames, min_activity)
        first = 0
        while first < len(self):
            before = ends[first - 1] if first else 0
            last = int(np.searchsorted(ends, before + FRAMES_AT_ONCE, "right"))
            last = max(first + 1, last)
            part = slice(first, last)
            found[part] &= self._most_speech(part, num_frames) >= needed
            first = last
        return found

    def _most_speech(self, part: slice, num_frames: int) -> NDArray[np.int64]:
        """The most frames with speech in one window of each voice of a part; 0 if it is shorter."""
        lengths = self.num_frames[part].astype(np.int64)
        begins = np.concatenate([[0], np.cumsum(lengths + 1)])
        ends = self._ends[part.start : part.stop + 1]
        edges = self._edges[ends[0] : ends[-1]] + np.repeat(begins[:-1], np.diff(ends))
        size = int(begins[-1])
        # Silence and speech take turns from the first frame on; either may last for no frame.
        turns = np.diff(np.concatenate([[0], edges, [size]]))
        speech = np.repeat((np.arange(len(turns)) % 2).astype(np.int8), turns)
        total = np.zeros(size + 1, np.int32)
        np.cumsum(speech, out=total[1:])
        most = np.zeros(len(lengths), np.int64)
        long = lengths >= num_frames
        if long.any():
            inside = np.append(total[num_frames:] - total[:-num_frames], np.int32(0))
            starts = begins[:-1][long]
            spans = np.stack([starts, starts + lengths[long] - num_frames + 1], axis=1)
            most[long] = np.maximum.reduceat(inside, spans.ravel())[::2]
        return most

    def check(self) -> None:
        """Pass when all runs with speech are sorted and within their samples.

        Raises:
            ValueError: names a voice of which this is not true.
        """
        lengths = np.diff(self._ends)
        wrong = (lengths % 2).astype(bool)
        rising = np.ones(len(self._edges), bool)
        rising[:-1] = np.diff(self._edges) >= 0
        filled = np.flatnonzero(lengths)
        rising[self._ends[filled + 1] - 1] = True  # the next edge is of another voice
        wrong[np.searchsorted(self._ends, np.flatnonzero(~rising), "right") - 1] = True
        wrong[filled] |= self._edges[self._ends[filled]] < 0
        wrong[filled] |= self._edges[self._ends[filled + 1] - 1] > self.num_frames[filled]
        if wrong.any():
            key = self._columns["key"][int(np.argmax(wrong))]
            raise ValueError(f"the runs with speech of {key} are not sorted, or not within it.")

    def _numbers(self, name: str) -> NDArray[Any]:
        return self._columns[name].to_numpy(zero_copy_only=False)


def _write_ipc(sink: Any, table: pa.Table) -> None:
    import pyarrow as pa

    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _unpickled(content: bytes) -> Voices:
    import pyarrow as pa

    return Voices(pa.ipc.open_file(content).read_all())


def _mapped(shared: Any) -> Voices:
    import pyarrow as pa

    descriptor = shared.detach()
    try:
        source = pa.memory_map(f"/proc/self/fd/{descriptor}")
        return Voices(pa.ipc.open_file(source).read_all())
    finally:
        os.close(descriptor)


def write_voices(path: Path, voices: Iterable[Voice]) -> None:
    """Write voices as a parquet table; the same voices give the same bytes."""
    write_table(path, Voices.of(voices).table())


def read_voices(path: Path) -> Voices:
    """Read voices that `write_voices` wrote.

    Raises:
        CheckError: the file is missing or damaged.
    """
    return voices_of(read_table(path), path)


def voices_of(table: pa.Table, path: Path) -> Voices:
    """The voices in a table that was read from a file.

    Raises:
        CheckError: the table does not hold voices.
    """
    import pyarrow as pa

    try:
        if not table.schema.equals(voice_schema()) or any(c.null_count for c in table.columns):
            raise ValueError("it has other columns than a table of voices")
        table.validate(full=True)
        voices = Voices(table)
        voices.check()
    except (ValueError, pa.ArrowException) as error:
        raise CheckError(f"{path} is damaged ({error}); remove it and run mix again.") from error
    return voices
