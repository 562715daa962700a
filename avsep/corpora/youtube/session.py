"""Many videos: rounds of downloads, shared pauses when throttled, and the end of retries.

A round asks for each remaining video once. A failure that may pass is tried again in the next
round. When YouTube throttles, the round ends early and all downloads pause; such a try does not
count as an attempt.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.youtube import ytdlp
from avsep.corpora.youtube.breaker import Breaker
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.messages import Failure
from avsep.corpora.youtube.video_job import ReadAnnotation, VideoJob, VideoResult, run_video
from avsep.corpora.youtube.ytdlp import Site
from avsep.errors import CheckError, ItemError, Reason, State, UsageError
from avsep.outcome import SourceLog, SourceRow
from avsep.processes import map_items

log = logging.getLogger(__name__)

STAGE = "download"
UPGRADE = (
    "yt-dlp no longer reads YouTube's pages: upgrade it (`pip install -U yt-dlp`), check that a"
    " JavaScript runtime is installed (`avsep doctor`), and run the stage again"
)
SITE = Site()
"""Where videos come from; tests replace it by their own server."""

ClipResult = tuple[SourceClip, FileInfo | ItemError]


class Session:
    """The downloads of one batch."""

    def __init__(
        self,
        config: YouTubeConfig,
        ledger: SourceLog,
        breaker: Breaker,
        *,
        run: Callable[[VideoJob], VideoResult],
        workers: int,
        timeout_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config, self._ledger, self._breaker = config, ledger, breaker
        self._run, self._workers, self._timeout_s = run, workers, timeout_s
        self._sleep = sleep
        self._attempts: dict[str, int] = {}  # by video, over all runs
        self._unreadable = 0  # videos in a row that yt-dlp could not read
        self._refused: set[str] = set()  # videos refused since the last answer
        self._jitter = random.Random(0)

    def download(self, jobs: Iterable[VideoJob]) -> Iterator[ClipResult]:
        """Download the videos; yields the result of each clip when it is known.

        Raises:
            CheckError: yt-dlp no longer understands the site, or the disk is full.
        """
        known = self._ledger.sources(STAGE)
        self._attempts = {video: row.attempts for video, row in known.items()}
        pending: list[VideoJob] = []
        for job in jobs:
            row = known.get(job.video)
            if row is not None and row.state is State.DROPPED and row.reason is not None:
                yield from _fail(job, row.reason, row.message, attempts=0)
            else:
                pending.append(job)
        rounds = 0
        while pending:
            self._breaker.refresh()  # another session may have been throttled
            # A later run tries again once the last pause is over.
            if self._breaker.pauses > self._config.max_pauses and self._breaker.remaining_s > 0:
                for job in pending:
                    message = f"YouTube still throttles after {self._config.max_pauses} pauses."
                    self._record(job, Reason.THROTTLED, message, attempts=0)
                    yield from _fail(job, Reason.THROTTLED, message, attempts=0)
                return
            # After a pause one video tests whether the site answers again.
            this_round = pending[:1] if self._breaker.pauses > 0 else pending
            if self._breaker.is_open:
                wait_s = self._breaker.remaining_s
                log.warning("YouTube throttles: all downloads pause for %.0f s", wait_s)
                self._breaker.wait()
            retry: list[VideoJob] = []
            yield from self._run_round(this_round, retry)
            rounds += 1
            # The retries go last, so that another video is the next one to test the site.
            pending = pending[len(this_round) :] + retry
            if retry and not self._breaker.is_open:
                self._sleep(self._delay_s(rounds))

    def _run_round(self, jobs: list[VideoJob], retry: list[VideoJob]) -> Iterator[ClipResult]:
        """Ask for each video once; adds the jobs that are to be tried again to `retry`."""
        refused: list[tuple[VideoJob, VideoResult]] = []
        for job, result in self._results(jobs):
            match result.failure:
                case None:
                    yield from self._succeed(job, result)
                case Failure.WAITING:
                    retry.append(job)
                case Failure.THROTTLED:
                    self._breaker.trip()
                    retry.append(job)
                case Failure.REFUSED:
                    # Counted by video: the same one refused again and again is not throttling.
                    self._refused.add(job.video)
                    refused.append((job, result))
                    if len(self._refused) >= self._config.burst:
                        self._breaker.trip()
                case failure:
                    self._count_unreadable(failure, result.message)
                    yield from self._fail_or_retry(job, failure, result.message, retry)
        for job, result in refused:
            # Many refusals are throttling and say nothing about the video.
            if self._breaker.is_open:
                retry.append(job)
            else:
                yield from self._fail_or_retry(job, Failure.REFUSED, result.message, retry)

    def _results(self, jobs: list[VideoJob]) -> Iterator[tuple[VideoJob, VideoResult]]:
        """Run the jobs in worker processes; a failure of a process is one of the video."""
        for job, result in map_items(
            self._run, jobs, workers=self._workers, timeout_s=self._timeout_s
        ):
            if isinstance(result, ItemError):
                if result.reason.kind == "machine":
                    raise CheckError(f"videos cannot be written: {result.message}.")
                failure = Failure.CUT if result.reason is Reason.INTERNAL else Failure.TRANSIENT
                result = VideoResult(video=job.video, failure=failure, message=result.message)
            yield job, result

    def _succeed(self, job: VideoJob, result: VideoResult) -> Iterator[ClipResult]:
        self._site_answered()
        self._record(job, None, "", attempts=1, result=result)
        for clip in job.clips:
            missing = ItemError(Reason.CUT_FAILED, "the clip was not cut.")
            yield clip, result.clips.get(clip.clip_id, missing)
        # Only now: the caller has recorded the clips before it asked for more.
        if not self._config.keep_sources and not result.can_cut_more:
            ytdlp.remove_video(job.folder)

    def _fail_or_retry(
        self, job: VideoJob, failure: Failure, message: str, retry: list[VideoJob]
    ) -> Iterator[ClipResult]:
        """Count an attempt; the last one ends the clips, any other one adds the job to `retry`."""
        self._attempts[job.video] = self._attempts.get(job.video, 0) + 1
        most = {
            Failure.TRANSIENT: self._config.tries,
            Failure.REFUSED: self._config.tries,
            Failure.CUT: 2,
            Failure.UNKNOWN: self._config.unknown_tries,
            Failure.BROKEN: self._config.unknown_tries,
        }.get(failure, 1)
        if self._attempts[job.video] < most:
            self._record(job, None, message, attempts=1, pending=True)
            retry.append(job)
        else:
            self._record(job, failure.reason, message, attempts=1)
            yield from _fail(job, failure.reason, message, attempts=1)

    def _site_answered(self) -> None:
        self._unreadable = 0
        self._refused.clear()
        self._breaker.succeeded()

    def _count_unreadable(self, failure: Failure, message: str) -> None:
        if failure in (Failure.GONE, Failure.CHANGED, Failure.RESTRICTED):
            self._site_answered()
        elif failure is Failure.BROKEN:
            self._unreadable += 1
            if self._unreadable >= self._config.broken_after:
                raise CheckError(f"{UPGRADE}. The last message: {message}")

    def _record(
        self,
        job: VideoJob,
        reason: Reason | None,
        message: str,
        *,
        attempts: int,
        result: VideoResult | None = None,
        pending: bool = False,
    ) -> None:
        """Write how a video ended to the ledger, or that it is to be tried again."""
        self._ledger.record_source(
            STAGE,
            SourceRow(
                source=job.video,
                state=None if pending else reason.state if reason else State.DONE,
                reason=reason,
                message=message,
                attempts=attempts,
                tool=result.tool if result else "",
                facts=result.facts if result else {},
            ),
        )

    def _delay_s(self, rounds: int) -> float:
        return self._config.retry_delay_s * 2 ** min(rounds - 1, 6) * self._jitter.uniform(0.5, 1.5)


def _fail(job: VideoJob, reason: Reason, message: str, attempts: int) -> Iterator[ClipResult]:
    """All clips of a video end for the same reason."""
    for clip in job.clips:
        error = ItemError(reason, message)
        error.attempts = attempts
        yield clip, error


def download_videos(
    clips: Iterable[SourceClip],
    config: YouTubeConfig,
    *,
    read_annotation: ReadAnnotation,
    ledger: SourceLog,
    raw: Path,
    work: Path,
    workers: int,
    timeout_s: float,
) -> Iterator[ClipResult]:
    """Download the videos of some clips and cut the clips; yields the result of each.

    Args:
        clips: the clips to cut.
        config: settings of downloads.
        read_annotation: reads the annotation of a clip; picklable.
        ledger: where to record how videos ended.
        raw: the folder of raw clips.
        work: folder for the videos and for the state of the breaker.
        workers: processes, 0 to work in the main process.
        timeout_s: most time for one video, in seconds.

    Raises:
        UsageError: the file of cookies cannot be read, or there is no JavaScript runtime or
            no package that solves YouTube's challenges.
        CheckError: yt-dlp no longer understands the site, or the disk is full.
    """
    ytdlp.read_cookies()  # so that an unreadable file ends the run before the first download
    if SITE.extractors == ("youtube",):
        ytdlp.solver_version()
    if SITE.extractors == ("youtube",) and not ytdlp.installed_runtimes():
        raise UsageError(
            "yt-dlp needs a JavaScript runtime for YouTube, and none is installed; install deno, or"
            " node 20 or newer."
        )
    by_video: dict[str, list[SourceClip]] = defaultdict(list)
    for clip in clips:
        by_video[clip.video].append(clip)
    folder = work / "videos"
    jobs = [
        VideoJob(video=video, clips=tuple(of_video), config=config, site=SITE, raw=raw, work=folder)
        for video, of_video in sorted(by_video.items())
    ]
    session = Session(
        config,
        ledger,
        Breaker(folder, pause_s=config.pause_s, max_pause_s=config.max_pause_s),
        run=partial(run_video, read_annotation=read_annotation),
        workers=min(workers, config.at_once),
        timeout_s=timeout_s,
    )
    yield from session.download(jobs)
