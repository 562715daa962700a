"""Separate many recordings with one loaded model; what is done already is not done again."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from avsep.errors import AvsepError, CheckError, UsageError, disk_fault, printable
from avsep.files import sha256_text
from avsep.progress import Progress, StepProgress
from avsep.separation.folder import default_output, read_head
from avsep.separation.recording import checked_path

if TYPE_CHECKING:
    from avsep.separation.separator import Separator

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv")
# Shares of the steps of a recording in its time, roughly.
STEP_SHARES = {"track faces": 0.4, "separate": 0.25, "write videos": 0.35}
MESSAGE_CHARACTERS = 300  # of an unexpected error


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One recording of a batch.

    Attributes:
        video: path of the recording.
        output: folder of its results.
    """

    video: Path
    output: Path


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """How a recording of a batch ended.

    Attributes:
        video: path of the recording.
        output: folder of its results.
        state: `done`, `done before` or `failed`.
        speakers: number of voices.
        seconds: length of the sound, in seconds.
        message: one sentence: what failed, or what to know about the recording.
    """

    video: Path
    output: Path
    state: str
    speakers: int = 0
    seconds: float = 0.0
    message: str = ""


class _CancelledError(Exception):
    pass


def find_items(sources: Sequence[str | Path], output: Path | None) -> list[BatchItem]:
    """The recordings of files and folders, each with a folder of its own for the results.

    A folder stands for the videos in it and in the folders below, by the ending of their names.
    A file that is named twice, also through a link, is one recording.

    Args:
        sources: files and folders.
        output: folder for all results; beside each recording if None.

    Raises:
        UsageError: a source is missing or cannot be read, or a folder holds no video.
    """
    found: dict[str, tuple[Path, Path]] = {}  # and the folder it was found in, by its real path
    for source in sources:
        if Path(source).is_dir():
            videos = sorted(_videos(Path(source)))
            if not videos:
                raise UsageError(
                    f"{source} holds no video; their names end in {', '.join(SUFFIXES)}."
                )
            for video in videos:
                found.setdefault(_real(video), (video, Path(source)))
        else:
            path = checked_path(source)
            found.setdefault(_real(path), (path, path.parent))
    outputs = []
    for video, folder in found.values():
        place = default_output(video)
        outputs.append(place if output is None else output / place.relative_to(folder))
    taken = Counter(outputs)
    return [
        BatchItem(
            video=video,
            # Two recordings may differ only in their ending, or come from folders of one shape.
            output=place
            if taken[place] == 1
            else place.with_name(f"{place.name}_{sha256_text(real)[:8]}"),
        )
        for (real, (video, _)), place in zip(found.items(), outputs, strict=True)
    ]


def _real(video: Path) -> str:
    return os.path.realpath(video)  # of links that lead nowhere too


def separate_batch(
    separator: Separator, items: Sequence[BatchItem], progress: StepProgress, *, jobs: int = 1
) -> Iterator[BatchResult]:
    """Separate recordings, `jobs` of them at a time; yields how each ended, as they end.

    A recording whose results are there already, made with the same settings and weights, is not
    separated again. One that fails does not end the others.

    Args:
        separator: a loaded model, which all jobs share.
        items: the recordings.
        progress: shows one step for all of them.
        jobs: number of recordings that are worked on at the same time.

    Raises:
        UsageError: there are several jobs, and the separator has a face backend of its own, which
            threads cannot share.
    """
    ended = threading.Event()
    lock = threading.Lock()
    free: SimpleQueue[Separator] = SimpleQueue()
    free.put(separator)
    for _ in range(min(jobs, len(items)) - 1):
        free.put(separator.another())

    with progress("separate", len(items)) as advance, ThreadPoolExecutor(jobs) as pool:

        def work(item: BatchItem) -> BatchResult:
            bar, own = _ItemBar(advance, lock, ended), free.get()
            try:
                result = _separate(own, item, bar)
            finally:
                free.put(own)
            bar.finish()
            return result

        running = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(running):
                yield future.result()
        finally:  # also on Ctrl-C: those in flight end at their next frame
            ended.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _separate(separator: Separator, item: BatchItem, bar: _ItemBar) -> BatchResult:
    try:
        head = read_head(item.output)
        state = "done before"
        if head.get("made_from") != separator.made_from(item.video) or not _whole(item, head):
            made = separator.separate(item.video, item.output, bar.step)
            head, state = made.summary(), "done"
    except _CancelledError:
        raise
    except Exception as error:  # whatever it is, the others are still separated
        message = (
            str(error)
            if isinstance(error, AvsepError)
            else f"{item.video.name}: {fault}."
            if (fault := disk_fault(error))
            else f"{item.video.name}: something went wrong ({type(error).__name__}:"
            f" {printable(str(error))[:MESSAGE_CHARACTERS]})."
        )
        return BatchResult(video=item.video, output=item.output, state="failed", message=message)
    voices = sum(str(name).endswith(".wav") and "speaker" in str(name) for name in head["files"])
    return BatchResult(
        video=item.video,
        output=item.output,
        state=state,
        speakers=voices,
        seconds=head["num_samples"] / head["rate_hz"],
        message=" ".join(head["notes"]),
    )


def _whole(item: BatchItem, head: dict[str, object]) -> bool:
    files = head["files"]
    return isinstance(files, list) and all((item.output / str(name)).is_file() for name in files)


class _ItemBar:
    """The share of one recording in the bar of all."""

    def __init__(self, advance: Progress, lock: threading.Lock, ended: threading.Event) -> None:
        self._advance, self._lock, self._ended = advance, lock, ended
        self._shown = 0.0

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Progress]:
        """The progress of one step of the recording: a `StepProgress`."""
        part = STEP_SHARES.get(title, 0.0)
        stop = min(1.0, self._shown + part)  # videos that could not be copied are drawn

        def advance(count: float) -> None:
            if self._ended.is_set():
                raise _CancelledError
            self._add(min(part * count / max(1, total), stop - self._shown))

        yield advance

    def finish(self) -> None:
        """Complete the recording."""
        self._add(1 - self._shown)

    def _add(self, share: float) -> None:
        self._shown += share
        with self._lock:
            self._advance(share)


def _videos(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for name, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not _is_output(name, f))
        for file in files:
            if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                yield Path(name) / file


def _is_output(parent: str, name: str) -> bool:
    """Whether a folder is the result of an earlier separation, with videos of its own."""
    return bool(read_head(Path(parent) / name))


def check_all(results: Sequence[BatchResult]) -> None:
    """Raise a CheckError if a recording failed."""
    failed = sum(result.state == "failed" for result in results)
    if failed:
        raise CheckError(f"{failed} of {len(results)} recording(s) failed; the others are done.")
