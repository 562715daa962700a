"""The side of a decode worker: sends pictures to the engine, and again if the engine dies."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.faces.engine.wire import FAILED, MAX_ROWS, Arena, connect, peer, receive, send

START_S = 180.0  # for an engine to come (back): PyTorch and the driver take their time
REPLY_S = 300.0  # after which an engine is taken for hung
MAX_DEATHS = 3  # of engines that were working on a request
MAX_LOST = 8  # connections that ended before the engine worked on a request
MEMORY_WAITS_S = (0.5, 1, 2, 4, 8, 16, 32)  # for memory of the device to become free


class EngineClient:
    """The connection of this process to an engine.

    Args:
        path: of the engine's socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self._arena: Arena | None = None

    def find(self, frame: np.ndarray, smallest: int) -> np.ndarray:
        """The faces of a frame (H, W, 3) uint8 RGB, as rows; see `Networks.find`.

        Raises:
            ItemError: no engine can do it.
        """
        return self._ask([frame], {"smallest": smallest})

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        """One row of landmarks per region; see `Networks.estimate`.

        Raises:
            ItemError: no engine can do it.
        """
        parts = []
        for first in range(0, len(numbers), MAX_ROWS):
            part = slice(first, first + MAX_ROWS)
            used = sorted(set(numbers[part]))
            own = {number: place for place, number in enumerate(used)}
            message = {
                "numbers": [own[number] for number in numbers[part]],
                "regions": regions[part].tolist(),
            }
            parts.append(self._ask([frames[number] for number in used], message))
        return np.concatenate(parts)

    def close(self) -> None:
        """Part from the engine."""
        self._part()
        if self._arena:
            self._arena.close()
            self._arena = None

    def _ask(self, frames: Sequence[np.ndarray], message: dict[str, Any]) -> np.ndarray:
        arena = self._room_for(sum(frame.nbytes for frame in frames))
        places = arena.put_frames(frames)
        deaths, lost, waits = 0, 0, iter(MEMORY_WAITS_S)
        while True:
            arena.busy = False
            try:
                reply = self._exchange(message | {"frames": places, "alone": deaths > 0})
            except OSError:
                self._part()
                deaths, lost = deaths + arena.busy, lost + (not arena.busy)
                if deaths >= MAX_DEATHS:
                    raise ItemError(
                        Reason.WORKER_DIED, f"the landmark engine died {deaths} times on it."
                    ) from None
                if lost >= MAX_LOST:
                    raise ItemError(
                        Reason.WORKER_DIED, f"the landmark engine refused it {lost} times."
                    ) from None
                continue
            if "error" not in reply:
                return arena.results(int(reply["rows"]), int(reply["columns"]))
            wait = next(waits, None) if reply["again"] else None
            if wait is None:
                raise ItemError(Reason.INTERNAL, f"the landmark engine failed: {reply['error']}")
            time.sleep(wait)

    def _room_for(self, size: int) -> Arena:
        if self._arena is None or self._arena.size < size + (1 << 20):
            self.close()
            self._arena = Arena.create(size * 5 // 4)
        return self._arena

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            OSError: the engine went away meanwhile.
        """
        if self._connection is None:
            assert self._arena
            self._connection = self._connected()
            send(self._connection, message, self._arena.descriptor)
        else:
            send(self._connection, message)
        try:
            return receive(self._connection)[0]
        except TimeoutError:
            # Nothing else ends a driver call that hangs; a new engine is started in its place.
            os.kill(peer(self._connection)[0], signal.SIGKILL)
            raise

    def _connected(self) -> socket.socket:
        deadline = time.monotonic() + START_S
        while True:
            try:
                connection = connect(self._path)
                connection.settimeout(REPLY_S)
                return connection
            except OSError:
                failed = self._path.with_name(FAILED)
                if failed.is_file():
                    raise ItemError(Reason.INTERNAL, failed.read_text("utf-8")) from None
                if time.monotonic() > deadline:
                    raise ItemError(
                        Reason.WORKER_DIED, f"no landmark engine came within {START_S:g} s."
                    ) from None
                time.sleep(0.05)

    def _part(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
