"""The separations that a page has asked for: one at a time, their files removed after a while."""

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
KEEP_S = 30 * 60.0  # after which the files of a finished job are removed


class BusyError(Exception):
    """Too many jobs wait already."""


class _CancelledError(Exception):
    pass


@dataclass(eq=False)
class Job:
    """One video.

    Attributes:
        name: unique, cannot be guessed.
        title: of the file, for people.
        folder: that holds the video and the output.
        state: `waiting`, `running`, `done`, `failed` or `cancelled`.
        step: what is being done.
        done: how far the step is.
        total: of the step.
        message: one sentence when it failed.
        facts: of the separation when it is done.
        touched: when it was asked about last, by the monotonic clock.
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
        """What the page may know."""
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
    """Runs jobs in a thread of its own, in the order they came.

    Args:
        separator: a loaded model.
        parent: folder for the files; a temporary one if None.
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
        """A job whose video is still to be written; `start` follows, or `remove`.

        Raises:
            BusyError: too many jobs wait already.
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
        """Put a job with its video into the row."""
        self._waiting.put(job)

    def get(self, name: str) -> Job | None:
        """A job by name."""
        job = self._jobs.get(name)
        if job is not None:
            job.touched = time.monotonic()
        return job

    def remove(self, job: Job) -> None:
        """Forget a job and its files; one that runs ends at its next step."""
        job.cancelled = True
        with self._lock:
            self._jobs.pop(job.name, None)
        if job.state != "running":
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self, keep_s: float = KEEP_S) -> None:
        """Remove what nobody has asked about for a while."""
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
            job.video.unlink()  # the results show all that is needed
            job.state = "done"
        except _CancelledError:
            job.state = "cancelled"
        except AvsepError as error:
            job.state, job.message = "failed", str(error)
        except Exception as error:  # the page must hear of it; the thread goes on
            job.state, job.message = "failed", f"something went wrong: {type(error).__name__}."
