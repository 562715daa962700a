"""The work of one worker process: download one video, check it, cut its clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avsep.corpora.annotation_file import AnnotationFile
from avsep.corpora.ids import short_hash
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.corpora.youtube import ytdlp
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.corpora.youtube.cut import Cut, check_video, cut_clips
from avsep.corpora.youtube.messages import Failure
from avsep.corpora.youtube.ytdlp import Site, VideoError
from avsep.errors import ItemError, Reason

ReadAnnotation = Callable[[SourceClip], AnnotationFile | None]


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """One video and the clips to cut from it.

    Attributes:
        video: YouTube id.
        clips: clips of the video.
        config: settings of downloads.
        site: where the video comes from.
        raw: the folder of raw clips.
        work: the folder of videos that are being worked on.
    """

    video: str
    clips: tuple[SourceClip, ...]
    config: YouTubeConfig
    site: Site
    raw: Path
    work: Path

    @property
    def folder(self) -> Path:
        """The folder of the video; the hash keeps ids apart that differ in case only."""
        return self.work / f"{self.video}-{short_hash(self.video)}"


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """How the work on a video ended.

    Attributes:
        video: YouTube id.
        failure: why the video could not be used; None if it was downloaded.
        message: one sentence about the failure, or empty.
        clips: result of each clip by clip id; empty after a failure.
        facts: what the ledger records about the video.
        tool: version of yt-dlp.
    """

    video: str
    failure: Failure | None = None
    message: str = ""
    clips: dict[str, FileInfo | ItemError] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    tool: str = ""

    @property
    def can_cut_more(self) -> bool:
        """Whether another attempt could cut clips that failed now."""
        errors = [clip for clip in self.clips.values() if isinstance(clip, ItemError)]
        return any(error.reason is Reason.CUT_FAILED for error in errors)


def run_video(job: VideoJob, *, read_annotation: ReadAnnotation) -> VideoResult:
    """Download a video, check it against its annotations and cut its clips."""
    results: dict[str, FileInfo | ItemError] = {}
    cuts, scores = [], {}
    for clip in job.clips:
        try:
            file = read_annotation(clip)
            if file is None or file.boxes is None:
                raise ItemError(Reason.BAD_ANNOTATION, f"{clip.origin} has no boxes.")
        except ItemError as error:
            results[clip.clip_id] = error
            continue
        scores[clip.clip_id] = file.scores
        cuts.append(Cut(clip.clip_id, file.boxes, job.raw / clip.path))
    if not cuts:
        return VideoResult(video=job.video, clips=results)
    try:
        source = ytdlp.download_video(job.video, job.folder, job.config, job.site, job.work)
        path = job.folder / source.file
        width, height, duration_s = check_video(path, cuts, job.config)
    except VideoError as error:
        # An unreadable video may have been damaged on its way: download it again next time.
        unreadable = error.failure is Failure.CUT
        if unreadable or (error.failure is Failure.CHANGED and not job.config.keep_sources):
            ytdlp.remove_video(job.folder)
        return VideoResult(video=job.video, failure=error.failure, message=error.message)
    of_video = {
        "crop_scale": job.config.box_scale,
        "source_width": float(width),
        "source_height": float(height),
    }
    for clip_id, result in cut_clips(path, cuts, job.config):
        if isinstance(result, FileInfo):
            annotation = Annotation(scores={**scores[clip_id], **of_video})
            result = replace(result, annotation=annotation)
        results[clip_id] = result
    facts = {
        "width": width,
        "height": height,
        "duration_s": round(duration_s, 3),
        "sha256": source.sha256,
        "size_bytes": source.size_bytes,
        "format_id": source.format_id,
    }
    return VideoResult(video=job.video, clips=results, facts=facts, tool=source.tool)
