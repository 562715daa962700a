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
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import ItemError
from pipeline.faces.config import FacesConfig
from pipeline.ledger import Counts, Outcome
from pipeline.markers import marker_path, read_marker, write_marker
from pipeline.runner import Batch, Progress, StageReport, default_workers, map_items
from pipeline.schema import FPS, Clip
from pipeline.shards.card import write_card
from pipeline.shards.growth import PlannedClip, plan_shards, read_plan, write_plan
from pipeline.shards.index import rows_of_shard, write_index
from pipeline.shards.job import ClipJob, extract_clip
from pipeline.shards.manifest import write_manifest
from pipeline.shards.provenance import ClipSettings, check_backend, clip_hash, tool_versions
from pipeline.shards.records import (
    SampleReader,
    Source,
    clip_tar,
    kept_clip,
    shard_sources,
    write_shard_records,
)
from pipeline.shards.writer import ShardEntry, write_shard
from pipeline.storage import Workspace, fresh_directory, link_or_copy, settings_hash, sha256_file
from pipeline.tables import read_rows

STAGE = "extract"


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
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
        workers: processes; None for one a core, 0 to work in the main process.
        item_timeout_s: most time for one clip, in seconds.
        max_failed_share: share of clips that may fail before the stage does.
    """

    storage: Literal["compact", "plain"] = "compact"
    clips_per_shard: int = 1000
    lips_crf: int = 18
    backend: Literal["mediapipe", "face_alignment", "imported"] = "mediapipe"
    backend_options: dict[str, Any] = field(default_factory=dict)
    faces: FacesConfig = field(default_factory=FacesConfig)
    workers: int | None = None
    item_timeout_s: float = 900.0
    max_failed_share: float = 0.05

    def __post_init__(self) -> None:
        if self.clips_per_shard < 1:
            raise ValueError(f"clips_per_shard is {self.clips_per_shard}; it must be at least 1.")
        if not 1 <= self.lips_crf <= 51:
            raise ValueError(f"lips_crf is {self.lips_crf}; it must be 1 to 51.")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more, or empty.")
        if self.item_timeout_s <= 0:
            raise ValueError(f"item_timeout_s is {self.item_timeout_s}; it must be above 0.")
        if not 0 <= self.max_failed_share <= 1:
            raise ValueError(f"max_failed_share is {self.max_failed_share}; it is a share, 0 to 1.")


def plan(config: ExtractConfig, workspace: Workspace) -> list[Batch]:
    """One batch a shard: those of the last plan, then those of the clips that are new."""
    settings = clip_settings(config)
    clips = {clip.clip_id: clip for clip in _clips(workspace) if clip.kept}
    return [
        Batch(
            name=shard,
            items=tuple(items := [row.clip_id for row in rows]),
            settings=settings_hash([clip_hash(settings, clips[clip_id]) for clip_id in items]),
        )
        for shard, rows in groupby(_plan(config, workspace), key=attrgetter("shard"))
    ]


def work(
    config: ExtractConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Make one shard, or what is left of it."""
    shard, rows_path, parts = _paths(workspace, batch.name)
    if (finished := read_marker(workspace, STAGE, batch)) is not None:
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
    write_marker(workspace, STAGE, batch, outcomes, {"shard": dataclasses.asdict(entry)})
    shutil.rmtree(parts, ignore_errors=True)
    return outcomes


def finish(config: ExtractConfig, workspace: Workspace, outcomes: Sequence[Outcome]) -> StageReport:
    """Publish the finished shards with their index and manifest; remove what nobody planned."""
    batches = plan(config, workspace)
    entries, rows = [], []
    out = fresh_directory(workspace.shards)
    for batch in batches:
        finished = read_marker(workspace, STAGE, batch)
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
    write_plan(workspace.shard_plan, _plan(config, workspace))
    _remove_strangers(workspace, batches)
    return StageReport(
        stage=STAGE,
        counts=Counts.of(outcomes),
        facts={
            "shards": len(entries),
            "samples": manifest.num_samples,
            "with several voices": sum(row.multi_voice for row in rows),
            "minutes": round(manifest.num_frames / FPS / 60, 1),
            "MB": round(manifest.size_bytes / 1e6, 1),
        },
    )


def _plan(config: ExtractConfig, workspace: Workspace) -> list[PlannedClip]:
    """The place of each kept clip; published with the shards, so a killed run plans the same."""
    return plan_shards(
        (clip for clip in _clips(workspace) if clip.kept),
        read_plan(workspace.shard_plan),
        config.clips_per_shard,
    )


def _extract(
    config: ExtractConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> tuple[dict[str, Source], list[Outcome]]:
    """The clips of a batch as `Source`s, extracted or found done, and all outcomes."""
    shard, rows_path, parts = _paths(workspace, batch.name)
    before = shard_sources(rows_path, shard)
    wanted = set(batch.items)
    clips = [clip for clip in _clips(workspace) if clip.clip_id in wanted]
    sources: dict[str, Source] = {}
    jobs, settings = [], clip_settings(config)
    for clip in clips:
        wanted_hash = clip_hash(settings, clip)
        source = kept_clip(parts, clip.clip_id, wanted_hash) or before.get(clip.clip_id)
        if source is not None and source.record.settings == wanted_hash:
            sources[clip.clip_id] = source
        else:
            jobs.append(ClipJob(clip=clip, raw=workspace.raw, folder=parts, settings=settings))
    progress(len(sources))
    if jobs:
        check_backend(settings)
    outcomes = [source.record.outcome() for source in sources.values()]
    workers = default_workers() if config.workers is None else config.workers
    for job, result in map_items(
        extract_clip, jobs, workers=workers, timeout_s=config.item_timeout_s
    ):
        clip_id = job.clip.clip_id
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(clip_id, result.reason, result.message))
        else:
            sources[clip_id] = Source(result, clip_tar(parts, clip_id))
            outcomes.append(result.outcome())
        progress(1)
    return sources, sorted(outcomes, key=lambda outcome: outcome.item)


def _samples(
    sources: Mapping[str, Source], config: ExtractConfig
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
    folder = workspace.work(STAGE)
    return folder / f"{name}.tar", folder / f"{name}.clips.json", folder / f"{name}.clips"


def _remove_strangers(workspace: Workspace, batches: Sequence[Batch]) -> None:
    known = {marker_path(workspace, STAGE, batch.name) for batch in batches}
    known.update(path for batch in batches for path in _paths(workspace, batch.name)[:2])
    for path in sorted(workspace.work(STAGE).glob("*")):
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
    path = workspace.clips / "clips.parquet"
    return _read_clips(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=1)
def _read_clips(path: Path, _changed: int) -> list[Clip]:
    """Read once a process, not once a shard."""
    return read_rows(path, Clip)
