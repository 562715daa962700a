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

from avsep.errors import AvsepError
from avsep.progress import Progress
from avsep.web.pictures import write_spectrogram

if TYPE_CHECKING:
    from avsep.separation import Separator

MAX_WAITING = 4
KEEP_S = 30 * 60.0  # files of a finished job are removed after this long without a request


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
        state: `waiting`, `running`, `done`, `failed` or `cancelled`.
        step: title of the current step.
        done: number of items of the step that have ended.
        total: number of items of the step.
        message: one sentence if it failed.
        facts: summary of the separation once it is done.
        touched: time of the last request for it, by the monotonic clock.
        cancelled: whether it should end at its next step.
    """

    name: str
    title: str
    folder: Path
    state: str = "waiting"
    step: str = ""
    done: int = 0
    total: int = 0
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    touched: float = field(default_factory=time.monotonic)
    cancelled: bool = False

    @property
    def video(self) -> Path:
        """The uploaded file."""
        return self.folder / f"video{Path(self.title).suffix.lower()}"

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return self.folder / "output"

    def values(self) -> dict[str, Any]:
        """The values that the page shows."""
        return {
            "state": self.state,
            "title": self.title,
            "step": self.step,
            "done": self.done,
            "total": self.total,
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

    def new(self, title: str) -> Job:
        """Make a job whose video is not written yet; call `start` or `remove` afterwards.

        Raises:
            BusyError: too many jobs are waiting.
        """
        self.sweep()
        with self._lock:
            open_jobs = [job for job in self._jobs.values() if job.state in ("waiting", "running")]
            if len(open_jobs) > MAX_WAITING:
                raise BusyError
            name = uuid.uuid4().hex
            job = Job(name, title, self._root / name)
            job.folder.mkdir()
            self._jobs[name] = job
            return job

    def start(self, job: Job) -> None:
        """Queue a job whose video is written."""
        self._waiting.put(job)

    def get(self, name: str) -> Job | None:
        """The job of a name; None if there is none."""
        job = self._jobs.get(name)
        if job is not None:
            job.touched = time.monotonic()
        return job

    def remove(self, job: Job) -> None:
        """Remove a job and its files; a running one ends at its next step."""
        job.cancelled = True
        with self._lock:
            self._jobs.pop(job.name, None)
        if job.state != "running":
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self, keep_s: float = KEEP_S) -> None:
        """Remove finished jobs without a request for `keep_s` seconds."""
        limit = time.monotonic() - keep_s
        ended = ("done", "failed")
        for job in [j for j in self._jobs.values() if j.state in ended and j.touched < limit]:
            self.remove(job)

    def close(self) -> None:
        """End the thread and remove all files."""
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
        @contextmanager
        def progress(title: str, total: int) -> Iterator[Progress]:
            job.step, job.done, job.total = title, 0, total

            def advance(count: int) -> None:
                job.done += count
                if job.cancelled:
                    raise _CancelledError

            yield advance

        job.state = "running"
        try:
            made = self._separator.separate(job.video, job.output, progress)
            for speaker in made.speakers:
                assert isinstance(speaker.voice, Path)
                write_spectrogram(speaker.voice, speaker.voice.with_suffix(".png"))
            job.facts = made.summary()
            job.video.unlink()  # the page shows only the results
            job.state = "done"
        except _CancelledError:
            job.state = "cancelled"
        except AvsepError as error:
            job.state, job.message = "failed", str(error)
        except Exception as error:  # the page must show it, and the thread must go on
            job.state, job.message = "failed", f"something went wrong: {type(error).__name__}."
