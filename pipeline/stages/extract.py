"""extract: decode each kept clip once and write its faces, mouths and sound into shards.

One batch is one shard. While a shard is being made, each finished clip is stored beside it, so a
kill only loses the clips in flight. The shard is then put together in the order of the keys, so its
bytes do not depend on which clip was finished first.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from avsep.errors import CheckError, ItemError
from avsep.extraction.card import write_card
from avsep.extraction.clip import OVER_LIMIT, STILL, TOO_SMALL, num_frames_of
from avsep.extraction.clip_job import ClipJob, extract_clip
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import clip_hash, tool_versions
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
from avsep.extraction.speed import ExtractionSpeed
from avsep.faces.backends import check_backend, engine_options
from avsep.faces.engine.use import engine_use
from avsep.files import link_or_copy, replaced_directory, settings_hash, sha256_file
from avsep.outcome import Counts, Outcome
from avsep.processes import map_items
from avsep.progress import Progress, note
from avsep.schema import FPS, Clip
from avsep.shards.index import read_index, rows_of_shard, write_index
from avsep.shards.manifest import batch_of, write_manifest
from avsep.shards.writer import ShardEntry, write_shard
from avsep.tables import Rows, open_rows
from avsep.validation import check_at_least
from avsep.workspace import Workspace
from pipeline.execution.markers import read_marker, remove_stale_files, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

NAME = "extract"


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(ExtractionConfig, PoolSettings):
    """Settings of the extract stage.

    Attributes:
        clips_per_shard: number of clips of one split in a new shard; also the unit of work.
            Existing shards stay as they are; without `data/plan.parquet` the set is planned anew.
    """

    clips_per_shard: int = 1000
    item_timeout_s: float = 900.0
    max_failed_share: float = 0.05

    def __post_init__(self) -> None:
        ExtractionConfig.__post_init__(self)
        PoolSettings.__post_init__(self)
        check_at_least(self, 1, "clips_per_shard")


def plan(config: ExtractConfig, workspace: Workspace) -> list[Batch]:
    """One batch per shard: the shards of the last plan, then new ones for new clips."""
    clips = _clips(workspace)
    kept = clips.take([number for number, (kept,) in enumerate(clips.tuples("kept")) if kept])
    planned = plan_shards(kept, read_plan(workspace.shard_plan), config.clips_per_shard)
    number_of = {clip_id: number for number, (clip_id,) in enumerate(kept.tuples("clip_id"))}
    batches = []
    for shard, places in groupby(planned, key=attrgetter("shard")):
        items = tuple(place.clip_id for place in places)
        rows = kept.take([number_of[item] for item in items])
        batches.append(
            Batch(
                name=shard,
                items=items,
                settings=settings_hash([clip_hash(config, clip) for clip in rows]),
                rows=rows,
            )
        )
    return batches


def work(
    config: ExtractConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Make one shard, or the part of it that is still missing."""
    shard, rows_path, parts = _paths(workspace, batch.name)
    if finished := read_marker(workspace, NAME, batch):
        outcomes, facts = finished
        entry = ShardEntry(**facts["shard"])
        if not entry.num_samples or (shard.is_file() and sha256_file(shard) == entry.sha256):
            progress(len(batch.items))
            return outcomes
    finished_clips, outcomes = _extract(config, workspace, batch, progress)
    records_done = [finished.record for finished in finished_clips.values()]
    entry = write_shard(shard, _samples(finished_clips, config), config.storage)
    if not entry.num_samples:
        shard.unlink()
    write_shard_records(rows_path, entry.sha256, records_done)
    left_out: Counter[str] = Counter()
    for record in records_done:
        left_out.update(record.left_out)
    facts = {"shard": dataclasses.asdict(entry), "faces_left_out": dict(left_out)}
    write_marker(workspace, NAME, batch, outcomes, facts)
    shutil.rmtree(parts, ignore_errors=True)
    return outcomes


def finish(
    config: ExtractConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the shards with their index, manifest and card; remove files that are not planned.

    Raises:
        CheckError: the set has no sample.
    """
    entries = []
    left_out: Counter[str] = Counter()
    with replaced_directory(workspace.shards) as out:
        for batch in batches:
            finished = read_marker(workspace, NAME, batch)
            assert finished is not None, f"{batch.name} is not finished"
            entry = ShardEntry(**finished[1]["shard"])
            left_out.update(finished[1].get("faces_left_out", {}))
            if entry.num_samples:
                entries.append(entry)
                link_or_copy(_paths(workspace, batch.name)[0], out / entry.name)
        # One shard at a time is held as objects.
        write_index(out, (row for entry in entries for row in rows_of_shard(out / entry.name)))
        manifest = write_manifest(
            out,
            entries,
            config.storage,
            settings=settings_hash([batch.settings for batch in batches]),
            tools=dict(tool_versions(config)),
        )
        index = read_index(out, manifest)
        write_card(out, manifest, index, _clips(workspace), outcomes, left_out)
    # Published with the shards, so that the next run after a kill plans the same.
    places = (
        PlannedClip(
            batch=batch_of(batch.name), shard=batch.name, split=clip.split, clip_id=clip.clip_id
        )
        for batch in batches
        for clip in batch.rows
    )
    write_plan(workspace.shard_plan, places)
    planned = [path for batch in batches for path in _paths(workspace, batch.name)[:2]]
    remove_stale_files(workspace, NAME, batches, planned, "*")
    if not index:
        raise CheckError(
            f"extract: no clip gives a sample ({Counts.of(outcomes)}); `avsep ledger failures"
            " extract` says why."
        )
    return StageReport(
        stage=NAME,
        counts=Counts.of(outcomes),
        facts={
            "shards": len(entries),
            "samples": manifest.num_samples,
            "with several voices": int(index.column("multi_voice").sum()),
            "faces over the limit": left_out[OVER_LIMIT],
            "faces too small": left_out[TOO_SMALL],
            "faces that never move": left_out[STILL],
            "minutes": round(manifest.num_frames / FPS / 60, 1),
            "MB": round(manifest.size_bytes / 1e6, 1),
        },
    )


def on_one_gpu(config: ExtractConfig) -> ExtractConfig | None:
    """The settings of a worker that owns one GPU; None where no network runs on a GPU."""
    options = engine_options(config.backend, config.backend_options)
    if options is None or not str(options["device"]).startswith("cuda"):
        return None
    # Its first: dask-cuda shows each worker all GPUs of the machine, its own before the others.
    return dataclasses.replace(
        config, backend_options=config.backend_options | {"device": "cuda:0"}
    )


def _extract(
    config: ExtractConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> tuple[dict[str, FinishedClip], list[Outcome]]:
    """Extract the clips of a batch that are not finished.

    Returns:
        The finished clips by id, and the outcomes of all clips.
    """
    shard, rows_path, parts = _paths(workspace, batch.name)
    before = finished_clips_of_shard(rows_path, shard)
    finished_clips: dict[str, FinishedClip] = {}
    jobs = []
    for clip in batch.rows:
        wanted_hash = clip_hash(config, clip)
        finished = find_finished_clip(parts, clip.clip_id, wanted_hash) or before.get(clip.clip_id)
        if finished is not None and finished.record.settings == wanted_hash:
            finished_clips[clip.clip_id] = finished
        else:
            jobs.append(ClipJob(clip=clip, raw=workspace.raw, folder=parts, config=config))
    progress(len(finished_clips))
    engines: tuple[str, ...] = ()
    if jobs:
        check_backend(config.backend, config.backend_options)
        engines = _engines(config)
        jobs = [dataclasses.replace(job, engines=engines) for job in jobs]
    speed = ExtractionSpeed()
    outcomes = [finished.record.outcome() for finished in finished_clips.values()]
    for job, result in map_items(
        extract_clip, jobs, workers=config.num_workers, timeout_s=config.item_timeout_s
    ):
        clip_id = job.clip.clip_id
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(clip_id, result.reason, result.message))
        else:
            finished_clips[clip_id] = FinishedClip(result, clip_tar(parts, clip_id))
            outcomes.append(result.outcome())
            speed.add(num_frames_of(job.clip), result.seconds, result.steps)
            note(progress, speed.text(engine_use(engines)))
        progress(1)
    return finished_clips, sorted(outcomes, key=lambda outcome: outcome.item)


def _engines(config: ExtractConfig) -> tuple[str, ...]:
    """The engines that run the networks for all processes of the pool, if there are such."""
    options = engine_options(config.backend, config.backend_options)
    if options is None or not config.num_workers:
        return ()
    from avsep.faces.engine.host import engine_addresses

    return engine_addresses(config.backend, options)


def _samples(
    finished_clips: Mapping[str, FinishedClip], config: ExtractConfig
) -> Iterator[tuple[str, dict[str, bytes], int]]:
    """The samples of finished clips, sorted by key."""
    reader = SampleReader(config.storage)
    places = sorted(
        (key, num_frames, finished.path)
        for finished in finished_clips.values()
        for key, num_frames in finished.record.samples
    )
    for key, num_frames, path in places:
        yield key, reader.read(path, key), num_frames


def _paths(workspace: Workspace, name: str) -> tuple[Path, Path, Path]:
    """Paths of a shard, of the records of its clips, and of its folder of finished clips."""
    folder = workspace.work(NAME)
    return folder / f"{name}.tar", folder / f"{name}.clips.json", folder / f"{name}.clips"


def _clips(workspace: Workspace) -> Rows[Clip]:
    return open_rows(workspace.clips / "clips.parquet", Clip)


STAGE = Stage(
    NAME,
    ExtractConfig,
    plan,
    work,
    finish,
    purpose="cut faces and voices out of the clips, into shards",
    on_one_gpu=on_one_gpu,
)
