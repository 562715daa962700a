"""Ready landmark files of auto_avsr and AV-HuBERT, read without running what is in them.

They are pickles: a list with one entry a frame, (68, 2) in pixels of the clip's picture, None
where no face was found; some hold `{"facial_landmarks": ...}` instead. Unpickling can run any
code, so this reader knows lists, numbers, texts and numeric arrays, and refuses every other name.
"""

from __future__ import annotations

import codecs
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ItemError, Reason
from pipeline.schema import NUM_LANDMARKS

MAX_BYTES = 512 << 20
MAX_FRAMES = 4 * 3600 * 25


def read_landmarks(path: Path) -> list[np.ndarray | None]:
    """The landmarks of each frame of a clip.

    Returns:
        For each frame (68, 2) float32 in pixels, or None where no face was found.

    Raises:
        ItemError: missing, too large, or anything else than such a list.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ItemError(Reason.BAD_ANNOTATION, f"{path.name} is larger than {MAX_BYTES} bytes.")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ItemError(Reason.FILE_MISSING, f"there are no landmarks {path}.") from error
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{path}: {error.strerror}.") from error
    try:
        frames = load_plain(content)
        if not isinstance(frames, list) or len(frames) > MAX_FRAMES:
            raise ValueError("it is no list of frames")
        return [_points(frame) for frame in frames]
    except Exception as error:  # a damaged pickle raises whatever comes to its mind
        if isinstance(error, MemoryError | ItemError):
            raise
        raise ItemError(Reason.BAD_ANNOTATION, f"{path.name}: {error}.") from error


def load_plain(content: bytes) -> Any:
    """Unpickle lists, dicts, numbers, texts and numeric arrays.

    Raises:
        pickle.UnpicklingError: it names anything else.
    """
    # No file names by persistent ids, no out-of-band buffers: only what is in the bytes.
    return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()


class _PlainUnpickler(pickle.Unpickler):
    """Knows what numpy arrays of numbers are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that a numeric array needs."""
        known = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not read here")
        return known


class _Shell(np.ndarray):
    """An array before its numbers come; refuses objects, which could be anything."""

    def __new__(cls) -> _Shell:
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, raw = state
        if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array in it is not of plain numbers")
        if any(n < 0 for n in shape) or int(np.prod(shape)) * dtype.itemsize != len(raw):
            raise pickle.UnpicklingError("an array in it has another size than it says")
        super().__setstate__(state)


def _array(_kind: Any, _shape: Any, _code: Any) -> _Shell:
    """Stand-in for numpy's `_reconstruct`, which would allocate whatever shape it is told."""
    return _Shell()


def _dtype(code: Any, _align: Any = False, _copy: Any = False) -> np.dtype[Any]:
    if not isinstance(code, str) or len(code) > 4 or np.dtype(code).hasobject:
        raise pickle.UnpicklingError("an array in it is not of plain numbers")
    return np.dtype(code)


def _scalar(dtype: np.dtype[Any], raw: bytes | str = b"") -> Any:
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(content) != dtype.itemsize:
        raise pickle.UnpicklingError("a number in it is none")
    return np.frombuffer(content, dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Bytes in pickles of Python 2 and of protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it has bytes in an odd encoding")
    return codecs.latin_1_encode(text)[0]


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
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
        raise ValueError(f"a frame has points of the shape {points.shape}, not (68, 2)")
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise ValueError("a frame has points that are no numbers")
    return np.array(points[:, :2], np.float32)
