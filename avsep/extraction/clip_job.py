"""Extract one clip in a worker process and leave its samples and its record on disk."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from avsep.errors import ItemError, State
from avsep.extraction.clip import encoded_samples
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import clip_hash
from avsep.extraction.records import ClipRecord, save_finished_clip
from avsep.raw_file import check_raw_file
from avsep.schema import Clip


@dataclass(frozen=True, kw_only=True)
class ClipJob:
    """One clip to extract.

    Attributes:
        clip: row of `clips.parquet`.
        raw: folder that the path of the clip is relative to.
        folder: folder to write the samples to.
        config: settings of the extraction.
        engines: sockets of the engines that run the landmark networks; empty where each process
            has its own networks.
    """

    clip: Clip
    raw: Path
    folder: Path
    config: ExtractionConfig
    engines: tuple[str, ...] = ()


def extract_clip(job: ClipJob) -> ClipRecord:
    """Extract one clip.

    Returns:
        The record of the clip, also when the clip was dropped.

    Raises:
        ItemError: the clip failed.
    """
    from avsep.faces.timing import StepTimer

    started = time.monotonic()
    clip, timer = job.clip, StepTimer()
    samples, reason, message = [], "", ""
    left_out: Counter[str] = Counter()
    try:
        path = check_raw_file(clip, job.raw)
        # The processes of a pool have ids in a row, so that they spread over the engines.
        engine = job.engines[os.getpid() % len(job.engines)] if job.engines else ""
        samples = encoded_samples(path, clip, job.config, timer, left_out, engine)
    except ItemError as error:
        if error.reason.state is State.FAILED:
            raise
        reason, message = str(error.reason), error.message
    record = ClipRecord(
        clip_id=clip.clip_id,
        settings=clip_hash(job.config, clip),
        reason=reason,
        message=message,
        samples=tuple((key, num_frames) for key, _, num_frames in samples),
        left_out=dict(+left_out),
        seconds=round(time.monotonic() - started, 3),
        steps={name: round(spent, 3) for name, spent in timer.seconds.items()},
    )
    return save_finished_clip(job.folder, record, samples)
