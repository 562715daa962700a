"""Long arrays on disk, read in slices, so that memory does not grow with a recording.

Files are read, not mapped: mapped pages would count as memory of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsep.files import naming


class DiskArray:
    """An array in a file, which grows along its first axis.

    Args:
        path: path of the file; it is created with the first rows.
        dtype: type of the values.
        row: shape of one row; empty for an array of one dimension.
    """

    def __init__(self, path: Path, dtype: str, row: Sequence[int] = ()) -> None:
        self.path = path
        self._dtype, self._row = np.dtype(dtype), tuple(row)
        self._row_values = int(np.prod(self._row, dtype=np.int64))
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, *row) of the type of the array."""
        if rows.dtype != self._dtype or rows.shape[1:] != self._row:
            raise ValueError(
                f"rows are {rows.dtype} {rows.shape}; give {self._dtype} {('n', *self._row)}."
            )
        with naming(self.path), self.path.open("ab") as handle:
            handle.write(np.ascontiguousarray(rows).data)
        self._length += len(rows)

    def __getitem__(self, span: slice) -> np.ndarray:
        """(n, *row): a contiguous slice, clipped to the ends as for any sequence."""
        start, stop, step = span.indices(self._length)
        if step != 1:
            raise ValueError(f"the step is {step}; only slices of step 1 can be read.")
        count = max(0, stop - start)
        if count == 0:
            return np.zeros((0, *self._row), self._dtype)
        size = self._row_values * self._dtype.itemsize
        with self.path.open("rb") as handle:
            handle.seek(start * size)
            values = np.fromfile(handle, self._dtype, count * self._row_values)
        return values.reshape(count, *self._row)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        self._length = 0
