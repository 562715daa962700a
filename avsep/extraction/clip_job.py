"""One clip as a job for a worker process: its samples and its record are on disk afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from avsep.errors import ItemError, State
from avsep.extraction.clip import encoded_samples
from avsep.extraction.provenance import ClipSettings, clip_hash
from avsep.extraction.records import ClipRecord, save_finished_clip
from avsep.raw_file import check_raw_file
from avsep.schema import Clip


@dataclass(frozen=True, kw_only=True)
class ClipJob:
    """One clip for a worker process.

    Attributes:
        clip: its row of `clips.parquet`.
        raw: the folder that its path is relative to.
        folder: where its samples go.
        settings: see there.
    """

    clip: Clip
    raw: Path
    folder: Path
    settings: ClipSettings


def extract_clip(job: ClipJob) -> ClipRecord:
    """Extract one clip.

    Returns:
        Its record, also when the clip was dropped.

    Raises:
        ItemError: the clip failed.
    """
    started = time.monotonic()
    clip = job.clip
    samples, reason, message = [], "", ""
    try:
        path = check_raw_file(clip, job.raw)
        samples = encoded_samples(path, clip, job.settings)
    except ItemError as error:
        if error.reason.state is State.FAILED:
            raise
        reason, message = str(error.reason), error.message
    record = ClipRecord(
        clip_id=clip.clip_id,
        settings=clip_hash(job.settings, clip),
        reason=reason,
        message=message,
        samples=tuple((key, num_frames) for key, _, num_frames in samples),
        seconds=round(time.monotonic() - started, 3),
    )
    return save_finished_clip(job.folder, record, samples)
