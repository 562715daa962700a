"""The separations that a page asked for: one at a time, and their files are removed later."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import AvsepError, disk_fault, is_full
from avsep.progress import Progress
from avsep.separation.batch import STEP_SHARES
from avsep.web.pictures import write_spectrogram

if TYPE_CHECKING:
    from avsep.separation import Separator

MAX_WAITING = 4
KEEP_S = 30 * 60.0  # files of a job are removed after this long without a request
SWEEP_S = 30.0  # seconds between two looks for such jobs
MIN_SHARE = 0.05  # of the work that is done before the time left is estimated
NAME_BYTES = 150  # of the name of an uploaded file that are kept

FULL = "the disk of this machine is full; free some space and send the video again."
_OPEN = ("receiving", "waiting", "running")


class BusyError(Exception):
    """Too many jobs are waiting."""


class _CancelledError(Exception):
    pass


@dataclass(eq=False)
class Job:
    """One video.

    Attributes:
        name: unique name that cannot be guessed.
        title: name of the file, for people.
        folder: folder of the video and the output.
        state: `receiving`, `waiting`, `running`, `done`, `failed` or `cancelled`.
        step: title of the current step.
        done: number of items of the step that have ended.
        total: number of items of the step.
        share: how much of all steps is done, 0 to 1.
        started: time when its work began, by the monotonic clock.
        message: one sentence if it failed.
        facts: summary of the separation once it is done.
        touched: time of the last request for it, by the monotonic clock.
        cancelled: whether it should end at its next step.
    """

    name: str
    title: str
    folder: Path
    state: str = "receiving"
    step: str = ""
    done: int = 0
    total: int = 0
    share: float = 0.0
    started: float = 0.0
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    touched: float = field(default_factory=time.monotonic)
    cancelled: bool = False

    @property
    def video(self) -> Path:
        """The uploaded file; it has its own name, which errors and `tracks.json` repeat."""
        return self.folder / "upload" / _file_name(self.title)

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return self.folder / "output"

    @property
    def left_s(self) -> float | None:
        """Estimated seconds until it is done; None if it is too early to say."""
        if self.state != "running" or self.share < MIN_SHARE:
            return None
        return (time.monotonic() - self.started) * (1 - self.share) / self.share

    def values(self) -> dict[str, Any]:
        """The values that the page shows."""
        return {
            "state": self.state,
            "title": self.title,
            "step": self.step,
            "done": self.done,
            "total": self.total,
            "share": round(self.share, 3),
            "left_s": None if self.left_s is None else round(self.left_s),
            "message": self.message,
            "facts": self.facts,
        }


class Jobs:
    """Runs jobs in a separate thread, in the order they came.

    Args:
        separator: a loaded model.
        parent: folder for the files; that of the system for temporary files if None.
    """

    def __init__(self, separator: Separator, parent: Path | None = None) -> None:
        self._separator = separator
        self._root = Path(tempfile.mkdtemp(prefix="avsep-web-", dir=parent))
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self._closed = threading.Event()
        threading.Thread(target=self._sweep_at_times, daemon=True).start()

    def new(self, title: str) -> Job:
        """Make a job whose video is not written yet; call `start` or `remove` afterwards.

        Raises:
            BusyError: too many jobs are waiting.
        """
        self.sweep()
        with self._lock:
            open_jobs = [job for job in self._jobs.values() if job.state in _OPEN]
            if len(open_jobs) > MAX_WAITING:
                raise BusyError
            name = uuid.uuid4().hex
            job = Job(name, title, self._root / name)
            job.video.parent.mkdir(parents=True)
            self._jobs[name] = job
            return job

    def start(self, job: Job) -> None:
        """Queue a job whose video is written."""
        job.state = "waiting"
        self._waiting.put(job)

    def get(self, name: str) -> Job | None:
        """The job of a name; None if there is none."""
        job = self._jobs.get(name)
        if job is not None:
            job.touched = time.monotonic()
        return job

    def ahead(self, job: Job) -> int:
        """How many videos are worked on before a waiting one."""
        if job.state != "waiting":
            return 0
        with self._lock:
            jobs = list(self._jobs.values())
        queued = [other for other in list(self._waiting.queue) if other in jobs]
        running = sum(other.state == "running" for other in jobs)
        return running + (queued.index(job) if job in queued else 0)

    def free_bytes(self) -> int:
        """Free space where the files are written."""
        return shutil.disk_usage(self._root).free

    def remove(self, job: Job) -> None:
        """Remove a job and its files; a running one ends at its next step."""
        job.cancelled = True
        with self._lock:
            self._jobs.pop(job.name, None)
        if job.state != "running":
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self, keep_s: float = KEEP_S) -> None:
        """Remove jobs without a request for `keep_s` seconds, if no work on them is left."""
        limit = time.monotonic() - keep_s
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.state not in ("waiting", "running") and job.touched < limit:
                self.remove(job)

    def _sweep_at_times(self) -> None:
        while not self._closed.wait(SWEEP_S):
            self.sweep()

    def close(self) -> None:
        """End the threads and remove all files."""
        self._closed.set()
        for job in list(self._jobs.values()):
            job.cancelled = True
        self._waiting.put(None)
        self._thread.join(timeout=60)
        shutil.rmtree(self._root, ignore_errors=True)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if not job.cancelled:
                self._run(job)
            if job.cancelled:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _run(self, job: Job) -> None:
        finished = 0.0  # share of the steps that have ended

        @contextmanager
        def progress(title: str, total: int) -> Iterator[Progress]:
            nonlocal finished
            job.step, job.done, job.total = title, 0, total
            before, part = finished, STEP_SHARES.get(title, 0.0)

            def advance(count: float) -> None:
                job.done += int(count)
                job.share = before + part * min(1.0, job.done / max(1, total))
                if job.cancelled:
                    raise _CancelledError

            yield advance
            finished = min(1.0, before + part)
            job.share = finished

        job.state, job.started = "running", time.monotonic()
        try:
            made = self._separator.separate(job.video, job.output, progress)
            for speaker in made.speakers:
                assert isinstance(speaker.voice, Path)
                write_spectrogram(speaker.voice, speaker.voice.with_suffix(".png"))
            job.facts = made.summary()
            job.video.unlink()  # the page shows only the results
            state = "done"
        except _CancelledError:
            state = "cancelled"
        except AvsepError as error:
            state, job.message = "failed", str(error)
        except Exception as error:  # the page must show it, and the thread must go on
            state = "failed"
            fault = disk_fault(error) or f"something went wrong ({type(error).__name__})"
            job.message = FULL if is_full(error) else f"{job.title}: {fault}."
        if state != "done":  # what is left of it only fills the disk
            shutil.rmtree(job.folder, ignore_errors=True)
        job.touched = time.monotonic()  # the time that it is kept starts now
        job.state = state


def _file_name(title: str) -> str:
    """The name of a file as one that every disk takes: no control characters, not too long."""
    plain = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in title)
    suffix = Path(plain).suffix
    stem = plain.removesuffix(suffix).encode("utf-8", "replace")[:NAME_BYTES]
    return (stem.decode("utf-8", "ignore").strip() or "video") + suffix.lower()
