"""How much disk a stage needs, and the refusal to start one whose result cannot be held."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import CheckError
from avsep.workspace import Workspace
from pipeline.rates import (
    BYTES_PER_PARAMETER,
    DEMO_CLIP_BYTES,
    LIPS_CRF,
    SHARD_BYTES,
    TABLE_BYTES,
    num_parameters,
)

if TYPE_CHECKING:
    from pipeline.execution.stage import Batch

IGNORE = "AVSEP_IGNORE_DISK"
LEAST_BYTES = 1 << 20  # with less, a database cannot be written
MARGIN = 1.2  # on the estimate, for faces and sizes that differ from the measured ones


def stage_bytes(
    stage: str,
    config: Any,
    *,
    items: int,
    video_s: float | None = None,
    archive_bytes: int = 0,
) -> float | None:
    """What the result of a stage takes on the disk; None if that is not known.

    Args:
        stage: its name.
        config: its config, with the model where it runs once per model.
        items: number of its items: clips, samples, or mixtures.
        video_s: seconds of video that it works on; None if unknown.
        archive_bytes: for `download`: size of the clips that come from archives.
    """
    tables = float(TABLE_BYTES.get(stage, 0) * items)
    if stage == "download":
        if config.corpus == "demo":
            return tables + DEMO_CLIP_BYTES * items
        return None if config.by_youtube else tables + archive_bytes
    if stage == "extract":
        if video_s is None or (config.storage == "compact" and config.lips_crf < LIPS_CRF):
            return None
        size = SHARD_BYTES[config.storage].value * video_s
        # While a shard is put together, its clips lie beside it.
        return size * (1 + min(items, config.clips_per_shard) / max(items, 1))
    if stage == "pretrain":
        return training_bytes("lipcoder", config.lipcoder, config.lipcoder.size)
    if stage == "train":
        return training_bytes(config.model, config.of_model, config.network_size)
    if stage == "evaluate":
        return tables + example_bytes(config)
    return tables


def training_bytes(model: str, section: Any, size: str) -> float | None:
    """What a training needs: its checkpoints and a model; None for a network of other sizes.

    Args:
        model: its name, or `lipcoder`.
        section: its section in the settings.
        size: size of the network.
    """
    parameters = num_parameters(model, size, section.overrides)
    return None if parameters is None else float(parameters * BYTES_PER_PARAMETER)


def example_bytes(config: Any) -> float:
    """Size of the sounds that an evaluation keeps: ten of 2 s per example, 16 bits at 16 kHz."""
    return float(config.example_count * 10 * 2 * 16_000 * 2)


def free_bytes(workspace: Workspace) -> int:
    """Free space on the disk that holds the project's data."""
    folder = workspace.data if workspace.data.exists() else workspace.root
    return shutil.disk_usage(folder).free


def full_disk(folder: Path) -> str:
    """What is wrong with the disk of a folder where a program says only that it failed.

    Returns:
        A sentence without its stop; empty where there is room and it can be written to.
    """
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    if status.f_flag & os.ST_RDONLY:
        return f"{folder}: the disk is read-only; make it writable or choose another folder"
    if status.f_bavail * status.f_frsize < LEAST_BYTES or (status.f_files and not status.f_favail):
        return f"{folder}: the disk is full; free some space"
    return ""


def present_bytes(workspace: Workspace) -> int:
    """Size of the project's data without the raw clips; a file with two names counts once."""
    seen: set[tuple[int, int]] = set()
    size = 0
    for folder, folders, files in os.walk(workspace.data):
        if Path(folder) == workspace.data:
            folders[:] = [name for name in folders if name != workspace.raw.name]
        for name in files:
            try:
                status = (Path(folder) / name).lstat()
            except OSError:  # a stage that runs has removed it
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += status.st_size
    return size


def size_text(number: float) -> str:
    """A size in decimal units, e.g. `353 GB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= 0.995 * size:
            value = number / size
            return f"{value:,.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
    return f"{number / 1e3:,.0f} kB"


def check_space(stage: str, config: Any, workspace: Workspace, batches: Sequence[Batch]) -> None:
    """Refuse to start a stage whose result the disk cannot hold.

    What is finished counts as there: a new result replaces it. An unknown size is not refused. The
    environment variable `AVSEP_IGNORE_DISK` skips the check.

    Raises:
        CheckError: there is too little space; the sentence has both numbers and the cure.
    """
    if os.environ.get(IGNORE, "0") not in ("", "0"):
        return
    folder = workspace.work(stage)
    left = [batch for batch in batches if not _marker(folder, batch).exists()]
    if not left:
        return
    video_s, archive_bytes = 0.0, 0
    for batch in left:
        for row in batch.rows:
            video_s += getattr(row, "duration_s", 0.0)
            member = getattr(row, "member", None)
            archive_bytes += 0 if member is None else member.size_bytes
    needed = stage_bytes(
        stage,
        config,
        items=sum(len(batch.items) for batch in left),
        video_s=video_s,
        archive_bytes=archive_bytes,
    )
    if needed is None:
        return
    there = sum(size for batch in left for size in _unfinished(folder, batch))
    needed, free = MARGIN * needed - there, free_bytes(workspace)
    if needed > free:
        raise CheckError(
            f"{stage} needs about {size_text(needed)} of disk and {size_text(free)} are free in"
            f" {workspace.data}; free some space, link data/ to a larger disk, choose fewer clips,"
            f" or set {IGNORE}=1 to start all the same (`avsep plan` has every stage)."
        )


def _marker(folder: Path, batch: Batch) -> Path:
    return folder / f"{batch.name}.done.json"


def _unfinished(folder: Path, batch: Batch) -> Iterator[int]:
    """Sizes of the files that an interrupted batch has left."""
    for part in (folder / batch.name, folder / f"{batch.name}.clips"):
        if part.is_dir():
            yield from (path.stat().st_size for path in part.rglob("*") if path.is_file())
