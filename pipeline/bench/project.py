"""A project of any size without media: tables, journals, voices and a ledger like VoxCeleb2's."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avsep.bench.synthetic_index import write_synthetic_set
from avsep.cleaning.check_clip import ClipCheck
from avsep.cleaning.drops import drop_report
from avsep.cleaning.fingerprint import SOUND_BYTES
from avsep.cleaning.journal import append_check
from avsep.errors import Reason
from avsep.files import sha256_text, write_json, write_table
from avsep.mixing.voices import Voice, write_voices
from avsep.outcome import Outcome
from avsep.schema import FPS, Clip, RawClip
from avsep.shards.index import IndexRow, read_index
from avsep.tables import table_of
from avsep.workspace import PARAMS, Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import write_marker
from pipeline.execution.stage import Batch
from pipeline.stages import clean, mix

ROWS_AT_ONCE, BATCHES_AT_ONCE = 10_000, 50
LITTLE_BYTES = 250_000  # of a clip
DROPPED_EVERY = 20  # clips, of which `clean` drops one
CLEAN = clean.CleanConfig()
MIX = mix.MixConfig(val_mixtures=0, test_mixtures=0, max_quality={})


def write_project(root: Path, count: int, *, seed: int = 0) -> Workspace:
    """Write a project whose stages up to `mix` have ended for `count` clips.

    The shards have no content, and the raw clips are not there. What `clean` and `mix` have
    measured lies in their work folders, so that both run without media.

    Args:
        root: folder of the project; must be empty.
        count: number of clips.
        seed: seed of all values.
    """
    workspace = Workspace(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / PARAMS).write_text("{}\n", "utf-8")
    write_synthetic_set(workspace.shards, count, seed=seed)
    rng = np.random.default_rng(seed)
    ledger = Ledger(workspace.ledger)
    raw = (_raw_clip(row) for row in read_index(workspace.shards))
    parts = []
    while part := list(islice(raw, ROWS_AT_ONCE)):
        parts.append(table_of(part, RawClip))
    write_table(workspace.raw_table, pa.concat_tables(parts))
    parts.clear()
    batches = iter(clean.plan(CLEAN, workspace))
    while some := list(islice(batches, BATCHES_AT_ONCE)):
        clips = [_write_check(workspace, batch, row, rng) for batch in some for row in batch.rows]
        parts.append(table_of(clips, Clip))
        ledger.record("clean", [_outcome(clip) for clip in clips])
        ledger.record("download", [Outcome.found(c.clip_id, sha256=c.sha256) for c in clips])
        ledger.record("extract", [Outcome.done(clip.clip_id) for clip in clips if clip.kept])
    write_table(workspace.clips / "clips.parquet", pa.concat_tables(parts))
    write_json(workspace.clips / "drops.json", drop_report([]))
    _write_voices(workspace, rng)
    return workspace


def _raw_clip(row: IndexRow) -> RawClip:
    name = f"{row.speaker}/{row.clip_id[-17:-6]}/{row.clip_id[-5:]}"
    return RawClip(
        clip_id=row.clip_id,
        corpus=row.corpus,
        speaker=row.speaker,
        group=row.group,
        gender=row.gender,
        split=row.split,
        path=f"{row.corpus}/{name}.mp4",
        sha256=sha256_text(row.key),
        size_bytes=LITTLE_BYTES,
        licence="CC-BY-4.0",
        video=f"{row.speaker}-{row.clip_id[-17:-6]}",
        origin=name,
    )


def _write_check(
    workspace: Workspace, batch: Batch, row: RawClip, rng: np.random.Generator
) -> Clip:
    check = _check(row, rng)
    append_check(clean.journal_path(workspace, batch), check)
    return check.clip


def _check(row: RawClip, rng: np.random.Generator) -> ClipCheck:
    values: Mapping[str, Any] = vars(row)
    number = int(row.sha256[:8], 16)
    clip = Clip(
        **values,
        kept=True,
        end_s=4.0 + number % 1000 / 80,
        width=224,
        height=224,
        fps=float(FPS),
        audio_rate_hz=16_000,
        channels=1,
        level_dbfs=-20 - number % 100 / 10,
        dc_offset=0.0,
        clipped_share=0.0,
        speech_share=0.8,
        snr_db=20.0,
        bandwidth_hz=7000.0,
    )
    if number % DROPPED_EVERY == 0:
        reason = str(Reason.TOO_SHORT)
        return ClipCheck(clip=replace(clip, kept=False, reason=reason, message="it is short."))
    print_ = rng.integers(0, 256, SOUND_BYTES + 8 * 8, dtype=np.uint8).tobytes()
    return ClipCheck(
        clip=clip,
        sound_sha256=sha256_text(row.clip_id),
        fingerprint=base64.b64encode(print_).decode("ascii"),
    )


def _outcome(clip: Clip) -> Outcome:
    if clip.kept:
        return Outcome.done(clip.clip_id, 0.1)
    return Outcome.ended(clip.clip_id, Reason(clip.reason), clip.message, 0.1)


def _write_voices(workspace: Workspace, rng: np.random.Generator) -> None:
    """Write what `mix` has measured of each sample, and mark its batches as finished."""
    ledger = Ledger(workspace.ledger)
    index = iter(read_index(workspace.shards))
    for batch in mix.plan(MIX, workspace):  # whose batches follow the index
        rows = list(islice(index, len(batch.rows)))
        write_voices(mix.voices_path(workspace, batch), list(_voices(rows, rng)))
        outcomes = [Outcome.done(key) for key in batch.items]
        write_marker(workspace, mix.NAME, batch, outcomes)
        ledger.record(mix.NAME, outcomes)


def _voices(rows: Sequence[IndexRow], rng: np.random.Generator) -> Iterator[Voice]:
    """Voices with speech for three quarters of the time, in runs of half a second or so."""
    for row in sorted(rows, key=lambda row: row.key):
        edges = np.cumsum(rng.integers(3, 25, row.num_frames // 6))
        edges = edges[edges < row.num_frames]
        runs = edges[: len(edges) // 2 * 2].reshape(-1, 2)
        yield Voice(
            key=row.key,
            speaker=row.speaker,
            group=row.group,
            gender=row.gender,
            num_frames=row.num_frames,
            level_dbfs=round(row.level_dbfs, 4),
            sha256=row.audio_sha256,
            active=tuple((int(a), int(b)) for a, b in [(0, 60), *runs[runs[:, 0] > 60]]),
        )
