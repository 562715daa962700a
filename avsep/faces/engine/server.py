"""The engine: takes requests from all decode workers and runs them together, in large batches."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from avsep.faces.engine.use import UseMeter
from avsep.faces.engine.wire import MAX_ROWS, Arena, listen, peer, receive, send

log = logging.getLogger(__name__)

LINGER_S = 0.003  # that a request waits for others to share its batch
MAX_RUN_ROWS = 256  # regions that are worked on together
MAX_RUN_FRAMES = 64  # pictures that are searched together


class Networks(Protocol):
    """The networks of a backend on one device; see `MediaPipeNetworks`."""

    def find(self, frames: Sequence[np.ndarray], smallest: Sequence[int]) -> list[np.ndarray]:
        """The faces in frames, rows for each."""
        ...

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        """One row of landmarks per region (N, 4) in the frame of its number."""
        ...


@dataclass(eq=False)
class _Request:
    frames: list[np.ndarray]
    since: float
    smallest: int = 0  # of a search; 0 otherwise
    numbers: list[int] = field(default_factory=list)
    regions: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    alone: bool = False  # an engine died on it

    @property
    def rows(self) -> int:
        return len(self.numbers) or len(self.frames)


@dataclass(eq=False)
class _Worker:
    connection: socket.socket
    arena: Arena | None = None
    request: _Request | None = None  # a worker waits for its answer, so it has one at most


class EngineServer:
    """Serves decode workers on one socket until it is stopped.

    A worker has one request in flight, so that queues are as long as there are workers. Searches
    and landmarks are run in turn, the oldest first.

    Args:
        networks: the networks.
        path: of the socket, in a folder that only this user can enter.
        batch: number of rows that are worth a run without waiting for more.
    """

    def __init__(self, networks: Networks, path: Path, batch: int) -> None:
        self._networks = networks
        self._batch = batch
        self._workers: dict[socket.socket, _Worker] = {}
        self._listener = listen(path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stopped = False
        self._use = UseMeter(path.parent)

    def serve(self) -> None:
        """Serve until `stop` is called."""
        while not self._stopped:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is self._listener:
                    self._welcome()
                else:
                    self._read(self._workers[key.fileobj])  # type: ignore[index]
            if self._due():
                with self._use.busy():
                    self._run(self._next())
            self._use.write()
        for worker in list(self._workers.values()):
            self._part(worker)
        self._selector.close()
        self._listener.close()

    def stop(self) -> None:
        """Make `serve` return soon; may be called from another thread."""
        self._stopped = True

    # --- workers

    def _welcome(self) -> None:
        connection, _ = self._listener.accept()
        if peer(connection)[1] != os.getuid():
            connection.close()
            return
        self._workers[connection] = _Worker(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _part(self, worker: _Worker) -> None:
        self._selector.unregister(worker.connection)
        del self._workers[worker.connection]
        worker.connection.close()
        worker.request = None
        if worker.arena:
            worker.arena.close()

    def _read(self, worker: _Worker) -> None:
        try:
            message, descriptor = receive(worker.connection)
            if descriptor >= 0:
                if worker.arena:
                    worker.arena.close()
                worker.arena = Arena(descriptor)
            worker.request = _request(message, worker.arena)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not isinstance(error, ConnectionError):
                log.warning("the engine parts from a worker: %s", error)
            self._part(worker)

    # --- requests

    def _waiting(self) -> list[_Worker]:
        found = [worker for worker in self._workers.values() if worker.request]
        return sorted(found, key=lambda worker: worker.request.since)  # type: ignore[union-attr]

    def _patience(self) -> float:
        waiting = self._waiting()
        if not waiting:
            return 0.5
        assert waiting[0].request
        return max(0.0, waiting[0].request.since + LINGER_S - time.monotonic())

    def _due(self) -> bool:
        """Whether a run is worth its while: nobody else could join it, or it has waited enough."""
        waiting = self._waiting()
        if not waiting:
            return False
        rows = sum(worker.request.rows for worker in waiting if worker.request)
        return len(waiting) == len(self._workers) or rows >= self._batch or self._patience() == 0

    def _next(self) -> list[_Worker]:
        """The workers whose requests are run next: the oldest, and others of its kind."""
        first, *others = self._waiting()
        assert first.request
        if first.request.alone:
            return [first]
        search, rows = first.request.smallest > 0, first.request.rows
        limit = MAX_RUN_FRAMES if search else MAX_RUN_ROWS
        chosen = [first]
        for worker in others:
            request = worker.request
            assert request
            fits = rows + request.rows <= limit and (request.smallest > 0) == search
            if fits and not request.alone:
                chosen.append(worker)
                rows += request.rows
        return chosen

    def _run(self, workers: Sequence[_Worker]) -> None:
        requests = [worker.request for worker in workers if worker.request]
        for worker in workers:
            assert worker.arena
            worker.arena.busy = True
        full = ""
        try:
            results = self._results(requests)
            for worker, rows in zip(workers, results, strict=True):
                assert worker.arena
                worker.arena.put_results(rows)
        except torch.OutOfMemoryError as error:
            full = str(error).partition("\n")[0]
        except torch.AcceleratorError:
            raise  # nothing works on the device after it but a new process
        except Exception as error:
            if len(workers) > 1:  # only the guilty one shall hear of it
                for worker in workers:
                    self._run([worker])
                return
            log.error("the engine cannot serve a request", exc_info=error)
            self._answer(workers[0], {"error": f"{type(error).__name__}: {error}", "again": False})
            return
        if full:  # tried again out here, where no traceback holds the memory
            self._free()
            if len(workers) > 1:
                for worker in workers:
                    self._run([worker])
                return
            self._answer(workers[0], {"error": full, "again": True})
            return
        for worker, rows in zip(workers, results, strict=True):
            self._answer(worker, {"rows": rows.shape[0], "columns": rows.shape[1]})

    def _results(self, requests: Sequence[_Request]) -> list[np.ndarray]:
        frames = [frame for request in requests for frame in request.frames]
        if requests[0].smallest:
            smallest = [request.smallest for request in requests for _ in request.frames]
            return self._networks.find(frames, smallest)
        first, numbers = 0, []
        for request in requests:
            numbers += [first + number for number in request.numbers]
            first += len(request.frames)
        rows = self._networks.estimate(
            frames, numbers, np.concatenate([request.regions for request in requests])
        )
        ends = np.cumsum([len(request.numbers) for request in requests])
        return np.split(rows, ends[:-1])

    def _answer(self, worker: _Worker, message: dict[str, Any]) -> None:
        worker.request = None
        assert worker.arena
        worker.arena.busy = False
        with suppress(OSError):  # a worker that has gone is noticed by its closed connection
            send(worker.connection, message)

    @staticmethod
    def _free() -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _request(message: dict[str, Any], arena: Arena | None) -> _Request:
    """A checked request.

    Raises:
        ValueError: it is not what `EngineClient` sends.
    """
    if arena is None:
        raise ValueError("a request without a shared memory")
    frames = [arena.frame(*(int(value) for value in place)) for place in message["frames"]]
    request = _Request(frames=frames, since=time.monotonic(), alone=bool(message["alone"]))
    if "smallest" in message:
        request.smallest = max(1, int(message["smallest"]))
        if len(frames) != 1:
            raise ValueError("a search of other than one picture")
        return request
    request.numbers = [int(number) for number in message["numbers"]]
    request.regions = np.array(message["regions"], np.float64).reshape(-1, 4)
    if not 0 < len(request.numbers) == len(request.regions) <= MAX_ROWS:
        raise ValueError(f"{len(request.numbers)} numbers for {len(request.regions)} regions")
    if not all(0 <= number < len(frames) for number in request.numbers):
        raise ValueError("a region in a picture that is not there")
    if not np.isfinite(request.regions).all():
        raise ValueError("a region that is not finite")
    return request
