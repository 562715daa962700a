"""The landmark member of a sample: `.lmk.npz`, the arrays of `schema.Landmarks`."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from avsep.npy import read_npy
from avsep.schema import DETECTED, INTERPOLATED, MISSING, NUM_LANDMARKS, TURNED, Landmarks

MAX_BYTES = 1 << 28  # unpacked; two hours of video are 85 MB, so more is an attack or an error
# RuntimeError: it is encrypted. OverflowError, struct.error: sizes that no zip has.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, EOFError, NotImplementedError),
    *(RuntimeError, OSError, OverflowError, struct.error),
)
_CHUNK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can store

# attribute of `Landmarks`: (name in the file, dtype, shape per frame)
FIELDS: dict[str, tuple[str, type[np.generic], tuple[int, ...]]] = {
    "points": ("pts", np.float16, (NUM_LANDMARKS, 3)),
    "valid": ("valid", np.uint8, ()),
    "score": ("score", np.float16, ()),
    "box": ("bbox", np.float32, (4,)),
    "to_mean_face": ("M", np.float32, (2, 3)),
    "crop_xy": ("crop_xy", np.float32, (2,)),
}


def check_landmarks(landmarks: Landmarks) -> int:
    """Return the number of frames if all arrays have the right type and shape and are finite.

    Raises:
        ValueError: an array is wrong; says which, and how.
    """
    num_frames = len(landmarks.points)
    for attribute, (name, dtype, shape) in FIELDS.items():
        values = getattr(landmarks, attribute)
        wanted = (num_frames, *shape)
        if values.dtype != dtype or values.shape != wanted:
            raise ValueError(
                f"landmarks {name} is {values.dtype} {values.shape};"
                f" it must be {np.dtype(dtype)} {wanted}."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"landmarks {name} holds a value that is not finite.")
    if not np.isin(landmarks.valid, (MISSING, DETECTED, INTERPOLATED, TURNED)).all():
        raise ValueError("landmarks valid holds a value other than 0, 1, 2 and 3.")
    return num_frames


def encode_npz(landmarks: Landmarks) -> bytes:
    """An npz whose bytes depend on the arrays alone; numpy's own contains the time.

    It is not compressed, so that a window of frames can be read in place: `avsep.shards.windows`.
    """
    check_landmarks(landmarks)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for attribute, (name, _, _) in FIELDS.items():
            array = io.BytesIO()
            values = np.ascontiguousarray(getattr(landmarks, attribute))
            np.lib.format.write_array(array, values, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.create_system = 3  # otherwise it depends on the operating system
            info.external_attr = 0o644 << 16
            archive.writestr(info, array.getvalue())
    return buffer.getvalue()


def decode_npz(content: bytes) -> Landmarks:
    """The landmarks of an npz member.

    Raises:
        ValueError: the member is damaged or too large, or arrays are missing or wrong.
    """
    arrays: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"the landmarks unpack to more than {MAX_BYTES} bytes.")
            for attribute, (name, _, _) in FIELDS.items():
                arrays[attribute] = read_npy(_member(archive, f"{name}.npy"))
    except _UNREADABLE as error:
        raise ValueError(f"the landmarks cannot be decoded: {error}") from error
    if arrays["crop_xy"].dtype == np.int16:  # whole pixels, as in version 1 of the samples
        arrays["crop_xy"] = arrays["crop_xy"].astype(np.float32)
    landmarks = Landmarks(**arrays)
    check_landmarks(landmarks)
    return landmarks


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member, of which no more is unpacked than the archive says that it has."""
    info = archive.getinfo(name)
    # Python unpacks the others as a whole before it looks at their size.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} of the landmarks is compressed in an unknown way.")
    with archive.open(info) as file:
        parts = iter(lambda: file.read(_CHUNK_BYTES), b"")
        return b"".join(parts)
