"""extract: decode each kept clip once and write its faces, mouths and sound into shards.

One batch is one shard. While a shard is under work, each clip that is done lies beside it, so a
kill costs the clips in flight and no more; the shard is put together from them in order of their
keys, so its bytes do not depend on who was ready first.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from avsep.errors import ItemError
from avsep.extraction.card import write_card
from avsep.extraction.clip_job import ClipJob, extract_clip
from avsep.extraction.provenance import ClipSettings, check_backend, clip_hash, tool_versions
from avsep.extraction.records import (
    FinishedClip,
    SampleReader,
    clip_tar,
    find_finished_clip,
    finished_clips_of_shard,
    write_shard_records,
)
from avsep.extraction.shard_plan import (
    PlannedClip,
    plan_shards,
    read_plan,
    write_plan,
)
from avsep.faces.config import FacesConfig
from avsep.files import fresh_directory, link_or_copy, settings_hash, sha256_file
from avsep.outcome import Counts, Outcome
from avsep.processes import map_items
from avsep.progress import Progress
from avsep.schema import FPS, Clip
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.manifest import batch_of, write_manifest
from avsep.shards.writer import ShardEntry, write_shard
from avsep.tables import read_rows
from avsep.validation import check_at_least
from avsep.workspace import Workspace
from pipeline.execution.markers import marker_path, read_marker, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

NAME = "extract"


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(PoolSettings):
    """Settings of the extract stage.

    Attributes:
        storage: `compact` (FLAC and H.264) or `plain` (WAV and npy, which tarfile and numpy alone
            can read; 25 times the size for the mouths).
        clips_per_shard: clips of one split in one new shard; also the unit of work. Shards that
            exist stay as they are; without `data/plan.parquet` the set is cut anew.
        lips_crf: quality of the mouth video of `compact`, 1 (best) to 51.
        backend: what finds faces and landmarks: `mediapipe` (CPU), `face_alignment` (GPU), or
            `imported` for ready landmark files of auto_avsr or AV-HuBERT.
        backend_options: of the backend, e.g. `device` and `weights` of `face_alignment`, or
            `root` (the folder of the files) and `made_by` (a name for them) of `imported`.
        faces: detection, tracking and cropping.
    """

    storage: Literal["compact", "plain"] = "compact"
    clips_per_shard: int = 1000
    lips_crf: int = 18
    backend: Literal["mediapipe", "face_alignment", "imported"] = "mediapipe"
    backend_options: dict[str, Any] = field(default_factory=dict)
    faces: FacesConfig = field(default_factory=FacesConfig)
    item_timeout_s: float = 900.0
    max_failed_share: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "clips_per_shard")
        if not 1 <= self.lips_crf <= 51:
            raise ValueError(f"lips_crf is {self.lips_crf}; it must be 1 to 51.")


def plan(config: ExtractConfig, workspace: Workspace) -> list[Batch]:
    """One batch a shard: those of the last plan, then those of the clips that are new."""
    settings = clip_settings(config)
    clips = {clip.clip_id: clip for clip in _clips(workspace) if clip.kept}
    planned = plan_shards(clips.values(), read_plan(workspace.shard_plan), config.clips_per_shard)
    batches = []
    for shard, places in groupby(planned, key=attrgetter("shard")):
        rows = tuple(clips[place.clip_id] for place in places)
        batches.append(
            Batch(
                name=shard,
                items=tuple(clip.clip_id for clip in rows),
                settings=settings_hash([clip_hash(settings, clip) for clip in rows]),
                rows=rows,
            )
        )
    return batches


def work(
    config: ExtractConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Make one shard, or what is left of it."""
    shard, rows_path, parts = _paths(workspace, batch.name)
    if (finished := read_marker(workspace, NAME, batch)) is not None:
        outcomes, facts = finished
        entry = ShardEntry(**facts["shard"])
        if not entry.num_samples or _is(shard, entry.sha256):
            progress(len(batch.items))
            return outcomes
    sources, outcomes = _extract(config, workspace, batch, progress)
    records_done = [source.record for source in sources.values()]
    entry = write_shard(shard, _samples(sources, config), config.storage)
    if not entry.num_samples:
        shard.unlink()
    write_shard_records(rows_path, entry.sha256, records_done)
    write_marker(workspace, NAME, batch, outcomes, {"shard": dataclasses.asdict(entry)})
    shutil.rmtree(parts, ignore_errors=True)
    return outcomes


def finish(
    config: ExtractConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the finished shards with their index and manifest; remove what nobody planned."""
    entries, rows = [], []
    out = fresh_directory(workspace.shards)
    for batch in batches:
        finished = read_marker(workspace, NAME, batch)
        assert finished is not None, f"{batch.name} is not finished"
        entry = ShardEntry(**finished[1]["shard"])
        if entry.num_samples:
            entries.append(entry)
            link_or_copy(_paths(workspace, batch.name)[0], out / entry.name)
            rows += rows_of_shard(out / entry.name)
    write_index(out, rows)
    manifest = write_manifest(
        out,
        entries,
        config.storage,
        settings=settings_hash([batch.settings for batch in batches]),
        tools=dict(tool_versions(config.storage, config.backend)),
    )
    write_card(out, manifest, rows, _clips(workspace), outcomes)
    # Published with the shards, so that a killed run plans the same.
    places = [
        PlannedClip(
            batch=batch_of(batch.name), shard=batch.name, split=clip.split, clip_id=clip.clip_id
        )
        for batch in batches
        for clip in batch.rows
    ]
    write_plan(workspace.shard_plan, places)
    _remove_stale_files(workspace, batches)
    return StageReport(
        stage=NAME,
        counts=Counts.of(outcomes),
        facts={
            "shards": len(entries),
            "samples": manifest.num_samples,
            "with several voices": sum(row.multi_voice for row in rows),
            "minutes": round(manifest.num_frames / FPS / 60, 1),
            "MB": round(manifest.size_bytes / 1e6, 1),
        },
    )


def _extract(
    config: ExtractConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> tuple[dict[str, FinishedClip], list[Outcome]]:
    """The clips of a batch as `FinishedClip`s, extracted or found done, and all outcomes."""
    shard, rows_path, parts = _paths(workspace, batch.name)
    before = finished_clips_of_shard(rows_path, shard)
    sources: dict[str, FinishedClip] = {}
    jobs, settings = [], clip_settings(config)
    for clip in batch.rows:
        wanted_hash = clip_hash(settings, clip)
        source = find_finished_clip(parts, clip.clip_id, wanted_hash) or before.get(clip.clip_id)
        if source is not None and source.record.settings == wanted_hash:
            sources[clip.clip_id] = source
        else:
            jobs.append(ClipJob(clip=clip, raw=workspace.raw, folder=parts, settings=settings))
    progress(len(sources))
    if jobs:
        check_backend(settings)
    outcomes = [source.record.outcome() for source in sources.values()]
    for job, result in map_items(
        extract_clip, jobs, workers=config.num_workers, timeout_s=config.item_timeout_s
    ):
        clip_id = job.clip.clip_id
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(clip_id, result.reason, result.message))
        else:
            sources[clip_id] = FinishedClip(result, clip_tar(parts, clip_id))
            outcomes.append(result.outcome())
        progress(1)
    return sources, sorted(outcomes, key=lambda outcome: outcome.item)


def _samples(
    sources: Mapping[str, FinishedClip], config: ExtractConfig
) -> Iterator[tuple[str, dict[str, bytes], int]]:
    """The samples of finished clips, sorted by key."""
    reader = SampleReader(config.storage)
    places = sorted(
        (key, num_frames, source.path)
        for source in sources.values()
        for key, num_frames in source.record.samples
    )
    for key, num_frames, path in places:
        yield key, reader.read(path, key), num_frames


def _paths(workspace: Workspace, name: str) -> tuple[Path, Path, Path]:
    """The shard, the records of its clips, and the folder of clips while it is under work."""
    folder = workspace.work(NAME)
    return folder / f"{name}.tar", folder / f"{name}.clips.json", folder / f"{name}.clips"


def _remove_stale_files(workspace: Workspace, batches: Sequence[Batch]) -> None:
    known = {marker_path(workspace, NAME, batch.name) for batch in batches}
    known.update(path for batch in batches for path in _paths(workspace, batch.name)[:2])
    for path in sorted(workspace.work(NAME).glob("*")):
        if path in known:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def clip_settings(config: ExtractConfig) -> ClipSettings:
    """What of the stage's settings decides the samples."""
    return ClipSettings(
        storage=config.storage,
        lips_crf=config.lips_crf,
        backend=config.backend,
        backend_options=config.backend_options,
        faces=config.faces,
    )


def _clips(workspace: Workspace) -> list[Clip]:
    return read_rows(workspace.clips / "clips.parquet", Clip)


STAGE = Stage(NAME, ExtractConfig, plan, work, finish)
