"""What decode workers and the engine say to each other: short messages, and one shared memory each.

Messages are JSON over a Unix socket that keeps their bounds. Pictures and results lie in an
anonymous memory file, which a worker creates and hands over; it goes when both have gone.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MAX_MESSAGE = 64 * 1024  # bytes
MAX_ROWS = 64  # regions per request
RESULTS_AT = 4096  # bytes; before it only `BUSY`
FRAMES_AT = 1 << 20
MAX_FRAMES_BYTES = 1 << 32
FAILED = "failed"  # a file beside the socket: why there will be no engine
_PEER = struct.Struct("3i")  # process, user and group of the other side


class Arena:
    """Memory that a worker and the engine share: a flag, the results, then the pictures."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory file; the descriptor now belongs to this object."""
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        if not FRAMES_AT <= self.size <= FRAMES_AT + MAX_FRAMES_BYTES:
            raise ValueError(f"a shared memory of {self.size} bytes")
        self._memory = mmap.mmap(descriptor, self.size)

    @classmethod
    def create(cls, frames_bytes: int) -> Arena:
        """A new memory with room for pictures."""
        descriptor = os.memfd_create("avsep-frames")
        os.ftruncate(descriptor, FRAMES_AT + frames_bytes)
        return cls(descriptor)

    @property
    def busy(self) -> bool:
        """Whether the engine was working on the request when it last wrote."""
        return self._memory[0] == 1

    @busy.setter
    def busy(self, value: bool) -> None:
        self._memory[0] = int(value)

    def put_frames(self, frames: Sequence[np.ndarray]) -> list[tuple[int, int, int]]:
        """Copy pictures in; returns the place, height and width of each."""
        places, at = [], FRAMES_AT
        for frame in frames:
            height, width = frame.shape[:2]
            self._pixels(at, height, width)[:] = frame
            places.append((at, height, width))
            at += 3 * height * width
        return places

    def frame(self, at: int, height: int, width: int) -> np.ndarray:
        """A picture (H, W, 3) uint8 in the memory; not a copy.

        Raises:
            ValueError: it would lie outside.
        """
        if min(height, width) < 1 or at < FRAMES_AT or at + 3 * height * width > self.size:
            raise ValueError(f"a picture of {width}x{height} at {at} of {self.size} bytes")
        return self._pixels(at, height, width)

    def put_results(self, rows: np.ndarray) -> None:
        """Copy float64 rows in.

        Raises:
            ValueError: they are too many.
        """
        content = np.ascontiguousarray(rows, np.float64).tobytes()
        if len(content) > FRAMES_AT - RESULTS_AT:
            raise ValueError(f"{len(rows)} rows do not fit into the shared memory")
        self._memory[RESULTS_AT : RESULTS_AT + len(content)] = content

    def results(self, rows: int, columns: int) -> np.ndarray:
        """A copy of the results, (rows, columns) float64."""
        count = rows * columns
        found = np.frombuffer(self._memory, np.float64, count, RESULTS_AT)
        return found.reshape(rows, columns).copy()

    def close(self) -> None:
        """Unmap the memory and close its file."""
        with suppress(BufferError):  # a picture is still looked at; it goes with the last array
            self._memory.close()
        os.close(self.descriptor)

    def _pixels(self, at: int, height: int, width: int) -> np.ndarray:
        flat = np.frombuffer(self._memory, np.uint8, 3 * height * width, at)
        return flat.reshape(height, width, 3)


def listen(path: Path) -> socket.socket:
    """A socket that takes workers; its folder must be open to this user alone."""
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    taken.bind(str(path))
    taken.listen(256)
    return taken


def connect(path: Path) -> socket.socket:
    """A connection to the engine.

    Raises:
        OSError: nobody listens.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of the other side."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    process, user, _ = _PEER.unpack(found)
    return process, user


def send(connection: socket.socket, message: dict[str, Any], descriptor: int = -1) -> None:
    """Send one message, with a memory file or without."""
    content = json.dumps(message).encode()
    files = [] if descriptor < 0 else [descriptor]
    socket.send_fds(connection, [content], files)


def receive(connection: socket.socket) -> tuple[dict[str, Any], int]:
    """The next message and its memory file, -1 without one.

    Raises:
        ConnectionError: the other side has gone.
        ValueError: the message is too long or not JSON.
    """
    room = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
    content, ancillary, flags, _ = connection.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not content:
        raise ConnectionError("the other side has gone")
    if flags & socket.MSG_TRUNC:
        raise ValueError(f"a message over {MAX_MESSAGE} bytes")
    message = json.loads(content)
    if not isinstance(message, dict):
        raise ValueError("a message that is not an object")
    return message, descriptors[0] if descriptors else -1
