"""Landmark files of auto_avsr and AV-HuBERT, read without running the code in them.

The files are pickles of a list with one entry per frame: (68, 2) in pixels of the clip's picture,
or None where no face was found; some have `{"facial_landmarks": ...}` as entries. Unpickling can
run any code, so this reader only accepts lists, numbers, texts and numeric arrays.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.schema import NUM_LANDMARKS

MAX_BYTES = 512 << 20
_NUMBER = re.compile(r"[<>|=]?[biuf][1248]")
MAX_FRAMES = 4 * 3600 * 25


def read_landmarks(path: Path) -> list[np.ndarray | None]:
    """The landmarks of each frame of a clip.

    Returns:
        For each frame (68, 2) float32 in pixels, or None where no face was found.

    Raises:
        ItemError: the file is missing, too large, or not such a list.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ItemError(Reason.BAD_ANNOTATION, f"{path.name} is larger than {MAX_BYTES} bytes.")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ItemError(Reason.FILE_MISSING, f"the landmark file {path} is missing.") from error
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{path}: {error.strerror}.") from error
    try:
        frames = load_plain(content)
        if not isinstance(frames, list) or len(frames) > MAX_FRAMES:
            raise ValueError("it is not a list of frames")
        return [_points(frame) for frame in frames]
    except Exception as error:  # a damaged pickle can raise anything
        raise ItemError(Reason.BAD_ANNOTATION, f"{path.name}: {error}.") from error


def load_plain(content: bytes) -> Any:
    """Unpickle lists, dicts, numbers, texts and numeric arrays.

    Raises:
        pickle.UnpicklingError: the content names anything else.
    """
    # No persistent ids and no out-of-band buffers: only what is in the bytes.
    return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()


class _PlainUnpickler(pickle.Unpickler):
    """Knows the parts of numeric numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The object of a name that a numeric array needs."""
        known = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")
        return known


class _Shell(np.ndarray):
    """An array before its content is set; refuses arrays of objects, which could be anything."""

    def __new__(cls) -> _Shell:
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, by_columns, raw = state
        content = raw.encode("latin1") if isinstance(raw, str) else raw  # of Python 2
        _check(content, dtype, shape)
        super().__setstate__((version, shape, dtype, by_columns, content))


def _array(_kind: Any, _shape: Any, _code: Any) -> _Shell:
    """Replaces numpy's `_reconstruct`, which would allocate any shape."""
    return _Shell()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Replaces numpy's `_frombuffer`, of protocol 5."""
    _check(raw, dtype, shape)
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")


def _check(raw: Any, dtype: Any, shape: Any) -> None:
    """Raise unless the bytes are those of a numeric array of the given type and shape."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise pickle.UnpicklingError("an array in it is not numeric")
    if not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("an array in it has no bytes or no shape")
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(raw):
        raise pickle.UnpicklingError("the size of an array in it does not match its bytes")


def _dtype(code: Any, _align: Any = False, _copy: Any = False) -> np.dtype[Any]:
    if not isinstance(code, str) or not _NUMBER.fullmatch(code):
        raise pickle.UnpicklingError("an array in it is not numeric")
    # A copy: the pickle sets the byte order afterwards, which must not change numpy's own type.
    return np.dtype(code, align=False, copy=True)


def _scalar(dtype: np.dtype[Any], raw: bytes | str = b"") -> Any:
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    _check(content, dtype, ())
    return np.frombuffer(content, dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Replaces `_codecs.encode`, for bytes in pickles of Python 2 and protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it has bytes in an unknown encoding")
    return codecs.latin_1_encode(text)[0]


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


def _points(frame: Any) -> np.ndarray | None:
    if isinstance(frame, dict):
        frame = frame.get("facial_landmarks")
    if frame is None:
        return None
    points = np.asarray(frame)
    if points.shape[:1] != (NUM_LANDMARKS,) or points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"a frame has points of shape {points.shape}, not (68, 2)")
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise ValueError("a frame has points that are not finite numbers")
    return np.array(points[:, :2], np.float32)
