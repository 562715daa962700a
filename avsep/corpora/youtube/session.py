"""Many videos: rounds of downloads, pauses of all workers when throttled, and what to give up.

A round asks for every video that is left. What may pass is asked again in the next round; when
YouTube throttles, the round ends early and everything waits, and that counts as no attempt.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from avsep.corpora import folder as folders
from avsep.corpora.annotation_file import AnnotationFile
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.corpora.youtube import fetch
from avsep.corpora.youtube.breaker import Breaker
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.cut import Cut, check_source, cut_clips
from avsep.corpora.youtube.fetch import Site, VideoError
from avsep.corpora.youtube.messages import Trouble
from avsep.errors import CheckError, ItemError, Reason, State, UsageError
from avsep.outcome import SourceLog, SourceRow
from avsep.processes import map_items

log = logging.getLogger(__name__)

ReadAnnotation = Callable[[SourceClip], AnnotationFile | None]
STAGE = "download"
UPGRADE = (
    "yt-dlp no longer reads YouTube's pages: upgrade it (`pip install -U yt-dlp`), see that a"
    " JavaScript runtime is there (`avsep doctor`), and run the stage again"
)


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """One video and what is to be cut from it.

    Attributes:
        video: its id.
        clips: of its clips.
        config: settings.
        site: where it comes from.
        raw: the folder of raw clips.
        work: where videos lie while they are under work.
    """

    video: str
    clips: tuple[SourceClip, ...]
    config: YouTubeConfig
    site: Site
    raw: Path
    work: Path

    @property
    def folder(self) -> Path:
        """Where the video lies; ids may differ in case alone."""
        return self.work / f"{self.video}-{folders.digest_of(self.video)}"


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """What became of a video.

    Attributes:
        video: its id.
        trouble: what stands in the way; None for a video that was had.
        message: one sentence, empty without trouble.
        clips: what became of each clip; empty with trouble.
        facts: of the video, for the ledger.
        tool: version of yt-dlp.
    """

    video: str
    trouble: Trouble | None = None
    message: str = ""
    clips: dict[str, FileInfo | ItemError] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    tool: str = ""


def run_video(job: VideoJob, *, read_annotation: ReadAnnotation) -> VideoResult:
    """Download one video, check it against its annotations, cut its clips; for a worker."""
    clips: dict[str, FileInfo | ItemError] = {}
    cuts, notes = [], {}
    for clip in job.clips:
        try:
            note = read_annotation(clip)
            if note is None or note.boxes is None:
                raise ItemError(Reason.BAD_ANNOTATION, f"{clip.origin} has no boxes.")
        except ItemError as error:
            clips[clip.clip_id] = error
            continue
        notes[clip.clip_id] = note
        cuts.append(Cut(clip.clip_id, note.boxes, job.raw / clip.path))
    if not cuts:
        return VideoResult(video=job.video, clips=clips)
    try:
        source = fetch.fetch_video(job.video, job.folder, job.config, job.site, job.work)
        path = job.folder / source.file
        width, height, seconds = check_source(path, cuts, job.config)
    except VideoError as error:
        # What cannot be read was damaged on its way: another try must fetch it again.
        if error.trouble is Trouble.CUT or (
            error.trouble is Trouble.CHANGED and not job.config.keep_sources
        ):
            fetch.forget_video(job.folder)
        return VideoResult(video=job.video, trouble=error.trouble, message=error.message)
    facts: dict[str, Any] = {
        "width": width,
        "height": height,
        "duration_s": round(seconds, 3),
    }
    for clip_id, result in cut_clips(path, cuts, job.config):
        if isinstance(result, FileInfo):
            scores = {**notes[clip_id].scores, "crop_scale": job.config.box_scale}
            scores |= {"source_width": float(width), "source_height": float(height)}
            result = FileInfo(result.sha256, result.size_bytes, Annotation(scores=scores))
        clips[clip_id] = result
    facts |= {
        "sha256": source.sha256,
        "size_bytes": source.size_bytes,
        "format_id": source.format_id,
    }
    return VideoResult(video=job.video, clips=clips, facts=facts, tool=source.tool)


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
        self._broken = 0  # videos in a row that yt-dlp could not read
        self._refused: set[str] = set()  # videos refused since the last answer
        self._jitter = random.Random(0)

    def fetch(self, jobs: Iterable[VideoJob]) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
        """Have the videos; yields what became of each clip, as they come.

        Raises:
            CheckError: yt-dlp no longer understands the site.
        """
        known = self._ledger.sources(STAGE)
        pending: list[VideoJob] = []
        for job in jobs:
            row = known.get(job.video)
            if row is not None and row.state is State.DROPPED and row.reason is not None:
                yield from _all(job, row.reason, row.message, attempts=0)
            else:
                pending.append(job)
        tries = {job.video: known[job.video].attempts for job in pending if job.video in known}
        rounds = 0
        while pending:
            # In a later run, when the last pause is over, it is tried again.
            if self._breaker.pauses > self._config.max_pauses and self._breaker.left_s > 0:
                for job in pending:
                    message = f"everything waited {self._config.max_pauses} times for YouTube."
                    self._note(job, Trouble.THROTTLED, message, attempts=0)
                    yield from _all(job, Reason.THROTTLED, message, attempts=0)
                return
            careful = self._breaker.pauses > 0
            if self._breaker.is_open:
                log.warning("YouTube throttles: everything waits %.0f s", self._breaker.left_s)
                self._breaker.wait()
            asked = pending[:1] if careful else pending
            again, refused = [], []
            for job, result in self._round(asked):
                if result.trouble is None:
                    self._answered()
                    self._note(job, None, "", 1, result)
                    yield from _clips(job, result)
                    # Only now: whoever took the clips has written down that they are there.
                    if not self._config.keep_sources and not _uncut(result):
                        fetch.forget_video(job.folder)
                elif result.trouble is Trouble.WAITING:
                    again.append(job)
                elif result.trouble is Trouble.THROTTLED:
                    self._breaker.trip()
                    again.append(job)
                elif result.trouble is Trouble.REFUSED:
                    # One video that is refused again and again is no throttling.
                    self._refused.add(job.video)
                    refused.append((job, result))
                    if len(self._refused) >= self._config.burst:
                        self._breaker.trip()
                else:
                    self._count_broken(result)
                    if self._gives_up(job, result, tries):
                        yield from _all(job, self._note(job, result.trouble, result.message, 1),
                                        result.message)  # fmt: skip
                    else:
                        again.append(job)
            for job, result in refused:
                # In a burst they say nothing of the video; alone they do.
                if not self._breaker.is_open and self._gives_up(job, result, tries):
                    yield from _all(job, self._note(job, result.trouble, result.message, 1),
                                    result.message)  # fmt: skip
                else:
                    again.append(job)
            rounds += 1
            pending = pending[len(asked) :] + again  # another one is next to try the ground
            if again and not self._breaker.is_open:
                self._sleep(self._delay_s(rounds))

    def _round(self, jobs: list[VideoJob]) -> Iterator[tuple[VideoJob, VideoResult]]:
        for job, result in map_items(
            self._run, jobs, workers=self._workers, timeout_s=self._timeout_s
        ):
            if isinstance(result, ItemError):
                if result.reason is Reason.OUT_OF_SPACE:
                    raise CheckError("no space is left for videos; make room and run it again.")
                trouble = Trouble.CUT if result.reason is Reason.INTERNAL else Trouble.TRANSIENT
                result = VideoResult(video=job.video, trouble=trouble, message=result.message)
            yield job, result

    def _answered(self) -> None:
        self._broken = 0
        self._refused.clear()
        self._breaker.succeeded()

    def _count_broken(self, result: VideoResult) -> None:
        if result.trouble is not Trouble.BROKEN:
            if result.trouble in (Trouble.GONE, Trouble.CHANGED, Trouble.RESTRICTED):
                self._answered()  # the site speaks to us
            return
        self._broken += 1
        if self._broken >= self._config.broken_after:
            raise CheckError(f"{UPGRADE}. The last message: {result.message}")

    def _gives_up(self, job: VideoJob, result: VideoResult, tries: dict[str, int]) -> bool:
        """Whether this was the last attempt at a video; counts it."""
        tries[job.video] = tries.get(job.video, 0) + 1
        cap = {
            Trouble.TRANSIENT: self._config.tries,
            Trouble.REFUSED: self._config.tries,
            Trouble.CUT: 2,
            Trouble.UNKNOWN: self._config.unknown_tries,
            Trouble.BROKEN: self._config.unknown_tries,
        }.get(result.trouble or Trouble.UNKNOWN, 1)
        if tries[job.video] >= cap:
            return True
        self._note(job, None, result.message, 1, pending=True)
        return False

    def _note(
        self,
        job: VideoJob,
        trouble: Trouble | None,
        message: str,
        attempts: int,
        result: VideoResult | None = None,
        *,
        pending: bool = False,
    ) -> Reason:
        reason = trouble.reason if trouble else None
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
        return reason or Reason.NETWORK

    def _delay_s(self, rounds: int) -> float:
        return self._config.retry_delay_s * 2 ** min(rounds - 1, 6) * self._jitter.uniform(0.5, 1.5)


def _all(
    job: VideoJob, reason: Reason, message: str, attempts: int = 1
) -> Iterator[tuple[SourceClip, ItemError]]:
    for clip in job.clips:
        error = ItemError(reason, message)
        error.attempts = attempts
        yield clip, error


def _clips(job: VideoJob, result: VideoResult) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
    for clip in job.clips:
        missing = ItemError(Reason.CUT_FAILED, "it was not cut.")
        yield clip, result.clips.get(clip.clip_id, missing)


def _uncut(result: VideoResult) -> bool:
    """Whether another try could cut more of a video that is here."""
    ended = [clip for clip in result.clips.values() if isinstance(clip, ItemError)]
    return any(error.reason is Reason.CUT_FAILED for error in ended)


def fetch_videos(
    clips: Iterable[SourceClip],
    config: YouTubeConfig,
    *,
    read_annotation: ReadAnnotation,
    ledger: SourceLog,
    raw: Path,
    work: Path,
    workers: int,
    timeout_s: float,
    site: Site | None = None,
) -> Iterator[tuple[SourceClip, FileInfo | ItemError]]:
    """Have the videos of some clips and cut the clips; yields what became of each."""
    fetch.read_cookies()  # here, where a wrong file ends the run with a sentence
    site = site or SITE
    if site.extractors == ("youtube",) and not fetch.found_runtimes():
        raise UsageError(
            "yt-dlp needs a JavaScript runtime for YouTube, and there is none; install deno, or"
            " node 20 or newer."
        )
    by_video: dict[str, list[SourceClip]] = defaultdict(list)
    for clip in clips:
        by_video[clip.video].append(clip)
    folder = work / "videos"
    jobs = [
        VideoJob(
            video=video,
            clips=tuple(of_video),
            config=config,
            site=site,
            raw=raw,
            work=folder,
        )
        for video, of_video in sorted(by_video.items())
    ]
    breaker = Breaker(folder, pause_s=config.pause_s, max_pause_s=config.max_pause_s)
    session = Session(
        config,
        ledger,
        breaker,
        run=partial(run_video, read_annotation=read_annotation),
        workers=min(workers, config.at_once),
        timeout_s=timeout_s,
    )
    yield from session.fetch(jobs)


SITE = Site()
"""Where videos come from; tests put a server of their own here."""
