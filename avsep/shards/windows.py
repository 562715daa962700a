"""Windows of members: the bytes that a window needs, decoded to what the whole gives, bit for bit.

Members as avsep writes them are read in parts. Others are decoded as a whole.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from avsep.media import pcm
from avsep.schema import LIPS_SIZE
from avsep.shards import landmarks, lips

if TYPE_CHECKING:
    from numpy.typing import NDArray

Read = Callable[[int, int | None], bytes]
"""Reads a member: (first byte, number of bytes or None for all that follow)."""

_WAV = pcm.encode_wav(np.zeros(0, np.int16))  # a header alone; two of its numbers vary
_POINTS, _VALID = landmarks.FIELDS["points"], landmarks.FIELDS["valid"]  # the first in a member
_CRC = slice(14, 18)  # of a local header in a zip: the part that depends on the values


def audio_window(suffix: str, read: Read, *, start: int, count: int) -> NDArray[np.int16]:
    """Some samples of a `flac` or `wav` member, (count,) int16; fewer beyond its end.

    Raises:
        ValueError: the member is damaged.
    """
    if suffix == "flac":
        return pcm.decode_flac(read(0, None), start, count)
    head = read(0, len(_WAV))
    if (head[:4], head[8:40]) != (_WAV[:4], _WAV[8:40]):
        return pcm.decode_wav(read(0, None))[start : start + count]
    left = int.from_bytes(head[40:44], "little") // pcm.BYTES_PER_SAMPLE - start
    size = max(0, min(count, left)) * pcm.BYTES_PER_SAMPLE
    content = read(len(_WAV) + start * pcm.BYTES_PER_SAMPLE, size)
    return np.frombuffer(content, "<i2").astype(np.int16, copy=False)


def lips_window(
    suffix: str, read: Read, *, first: int, count: int, num_frames: int
) -> NDArray[np.uint8]:
    """Some frames of a `lips.mp4` or `lips.npy` member, (count, 96, 96) uint8.

    Args:
        suffix: which of them.
        read: reads the member.
        first: first frame.
        count: number of frames.
        num_frames: number of frames that the member must have.

    Raises:
        ValueError: the member is damaged or has another length.
    """
    if suffix == "lips.mp4":
        return lips.decode_mp4(read(0, None), first, count, num_frames=num_frames)
    head = _npy_header("|u1", (num_frames, LIPS_SIZE, LIPS_SIZE))
    if read(0, len(head)) != head:
        whole = lips.decode_npy(read(0, None))
        _check_length(len(whole), num_frames)
        return whole[first : first + count]
    frame = LIPS_SIZE * LIPS_SIZE
    content = read(len(head) + first * frame, count * frame)
    return np.frombuffer(content, np.uint8).reshape(count, LIPS_SIZE, LIPS_SIZE)


def landmark_window(
    read: Read, *, first: int, count: int, num_frames: int
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Some frames of a `lmk.npz` member: points (count, 68, 3) and valid marks (count,).

    Args:
        read: reads the member.
        first: first frame.
        count: number of frames.
        num_frames: number of frames that the member must have.

    Raises:
        ValueError: the member is damaged or has another length.
    """
    parts: list[NDArray[Any]] = []
    place = 0
    for name, dtype, shape in (_POINTS, _VALID):
        head = _stored_header(name, np.dtype(dtype).str, (num_frames, *shape))
        if _without_crc(read(place, len(head))) != _without_crc(head):
            whole = landmarks.decode_npz(read(0, None))  # compressed, as in sets of format 1
            _check_length(len(whole.points), num_frames)
            return whole.points[first : first + count], whole.valid[first : first + count]
        frame = np.dtype(dtype).itemsize * int(np.prod(shape))
        content = read(place + len(head) + first * frame, count * frame)
        parts.append(np.frombuffer(content, dtype).reshape(count, *shape))
        place += len(head) + num_frames * frame
    return parts[0], parts[1]


def _check_length(found: int, num_frames: int) -> None:
    if found != num_frames:
        raise ValueError(f"{found} frames; expected {num_frames}.")


def _without_crc(header: bytes) -> bytes:
    return header[: _CRC.start] + header[_CRC.stop :]


@lru_cache(maxsize=4096)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of an npy file as numpy writes it."""
    buffer = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


@lru_cache(maxsize=4096)
def _stored_header(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """What lies before the values of an array in an npz that is not compressed."""
    header, file = _npy_header(dtype, shape), f"{name}.npy".encode()
    size = len(header) + np.dtype(dtype).itemsize * int(np.prod(shape))
    # See APPNOTE.TXT 6.3.10, 4.3.7: version 2.0, no flags, stored, 1980-01-01.
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, size, size, len(file), 0)
    return local + file + header
