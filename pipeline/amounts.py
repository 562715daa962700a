"""How much there is to do: counts from the tables that exist, the corpus's files, or what is known.

Nothing is downloaded and nothing is written. What cannot be known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avsep.corpora.catalogue import open_corpus
from avsep.corpora.config import CorpusConfig
from avsep.corpora.corpus import CorpusSize
from avsep.errors import AvsepError, CheckError, ItemError
from avsep.files import read_json
from avsep.outcome import SourceRow
from avsep.schema import FPS
from avsep.workspace import Workspace

DEMO_CLIP_S = 3.0
LISTED_QUICKLY = ("demo", "folder")  # the others have up to a million files


@dataclass(frozen=True)
class Part:
    """What was published about a part of a corpus; docs/data.md says by whom.

    Attributes:
        clips: number of clips.
        hours: hours of video.
        gigabytes: size of the clips.
    """

    clips: int
    hours: float
    gigabytes: float


VOXCELEB2 = {"dev": Part(1_092_009, 2362, 250), "test": Part(36_237, 80, 10)}
LRS2 = {"pretrain": Part(96_318, 195, 43.4), "main": Part(48_164, 29.5, 6.6)}
LRS3 = {"pretrain": Part(118_516, 407, 65), "main": Part(33_303, 30.9, 5)}


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much the stages work on; None where it is not known.

    Attributes:
        clips: number of clips of the corpus.
        clip_s: mean length of a clip, in seconds.
        kept_share: share of the clips that `clean` keeps.
        kept_s: mean length of a kept clip.
        samples_per_clip: samples that a kept clip gives.
        sample_s: mean length of a sample.
        videos: number of videos to download, for clips that are cut from videos.
        raw_bytes: size of the clips.
        archive_bytes: size of the clips that come from archives and are unpacked.
        notes: where the numbers come from, one sentence each.
    """

    clips: int | None = None
    clip_s: float | None = None
    kept_share: float = 1.0
    kept_s: float | None = None
    samples_per_clip: float = 1.0
    sample_s: float | None = None
    videos: int = 0
    raw_bytes: float | None = None
    archive_bytes: int = 0
    notes: tuple[str, ...] = ()


def find_amounts(config: CorpusConfig, workspace: Workspace) -> Amounts:
    """What is known so far about the corpus of the settings.

    Args:
        config: settings of the corpus.
        workspace: folders of the project.
    """
    amounts = _corpus(config, workspace)
    if amounts.clips is None:
        return amounts
    return _after_extract(_after_clean(amounts, config.corpus, workspace), config.corpus, workspace)


def _corpus(config: CorpusConfig, workspace: Workspace) -> Amounts:
    from_table = _raw_table(config.corpus, workspace)
    if from_table is not None and config.corpus not in LISTED_QUICKLY:
        return from_table
    # The checksums of archives take minutes; `download` compares them.
    unchecked = replace(
        config,
        voxceleb2=replace(config.voxceleb2, check_md5=False),
        grid=replace(config.grid, check_md5=False),
        lombard_grid=replace(config.lombard_grid, check_md5=False),
    )
    try:
        size = open_corpus(unchecked, workspace, _NoSources()).size()
    except AvsepError as error:
        reason = str(error).rstrip(".")
        return from_table or _published(config, reason)
    return _listed(config, size)


def _raw_table(corpus: str, workspace: Workspace) -> Amounts | None:
    table = _columns(workspace.raw_table, corpus, "size_bytes")
    if table is None:
        return None
    sizes = table["size_bytes"]
    return Amounts(
        clips=len(sizes),
        clip_s=DEMO_CLIP_S if corpus == "demo" else None,
        raw_bytes=float(sizes.sum()),
        notes=(f"{len(sizes):,} clips are in {workspace.raw_table.name}.",),
    )


def _listed(config: CorpusConfig, size: CorpusSize) -> Amounts:
    if config.corpus == "demo":
        note = f"The demo has {size.clips:,} clips of {DEMO_CLIP_S:g} s."
        return Amounts(clips=size.clips, clip_s=DEMO_CLIP_S, raw_bytes=0.0, notes=(note,))
    notes = [f"{size.clips:,} clips are listed in {config.section.root}."]
    clip_s, file_bytes = _look_at(size.examples)
    if clip_s is not None:
        notes.append(f"Their length is the mean of {len(size.examples)} of them, {clip_s:.1f} s.")
    elif (published := _parts(config)) and not size.examples:
        clip_s = 3600 * sum(p.hours for p in published) / sum(p.clips for p in published)
        notes.append(f"Their length is the published mean, {clip_s:.1f} s.")
    raw_bytes = size.archive_bytes or (None if file_bytes is None else file_bytes * size.clips)
    return Amounts(
        clips=size.clips,
        clip_s=clip_s,
        videos=size.videos if config.by_youtube else 0,
        raw_bytes=None if config.by_youtube else raw_bytes,
        archive_bytes=size.archive_bytes,
        notes=tuple(notes),
    )


def _look_at(paths: tuple[Path, ...]) -> tuple[float | None, float | None]:
    """Mean length in seconds and mean size in bytes of some files, from their headers."""
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    mean_size = sum(sizes) / len(sizes) if sizes else None
    try:
        from avsep.media.container import open_local
    except ImportError:  # a machine without the media packages
        return None, mean_size
    lengths = []
    for path in paths:
        try:
            with open_local(path) as container:
                if container.duration:
                    lengths.append(container.duration / 1e6)
        except (ItemError, ImportError):
            continue
    return (sum(lengths) / len(lengths) if lengths else None), mean_size


def _parts(config: CorpusConfig) -> list[Part]:
    """The published parts that the settings choose; empty if they choose by something else."""
    if config.corpus == "voxceleb2" and config.voxceleb2.max_speakers is None:
        return [VOXCELEB2[part] for part in config.voxceleb2.parts]
    by_name: Mapping[str, Mapping[str, Part]] = {"lrs2": LRS2, "lrs3": LRS3}
    if config.corpus not in by_name:
        return []
    chosen = ["main", *(["pretrain"] if config.section.pretrain else [])]
    return [by_name[config.corpus][name] for name in chosen]


def _published(config: CorpusConfig, reason: str) -> Amounts:
    """What was published about a corpus whose copy cannot be listed, and why it cannot."""
    parts = _parts(config)
    if not parts:
        return Amounts(notes=(f"The number of clips is unknown: {reason}.",))
    clips, size = sum(part.clips for part in parts), 1e9 * sum(part.gigabytes for part in parts)
    route = config.voxceleb2.route if config.corpus == "voxceleb2" else "tree"
    return Amounts(
        clips=clips,
        clip_s=3600 * sum(part.hours for part in parts) / clips,
        raw_bytes=size if route != "youtube" else None,
        archive_bytes=round(size) if route == "archives" else 0,
        notes=(f"Clips, hours and sizes are the published ones: {reason}.",),
    )


def _after_clean(amounts: Amounts, corpus: str, workspace: Workspace) -> Amounts:
    """Add what the table of `clean` knows about the lengths and the kept clips."""
    table = _columns(workspace.clips / "clips.parquet", corpus, "kept", "start_s", "end_s")
    if table is None or not len(table["kept"]):
        note = "How many clips `clean` drops is not known yet; all of them count."
        return replace(amounts, kept_s=amounts.clip_s, notes=(*amounts.notes, note))
    lengths, kept = table["end_s"] - table["start_s"], table["kept"]
    known = lengths[lengths > 0]
    return replace(
        amounts,
        clip_s=float(known.mean()) if len(known) else amounts.clip_s,
        kept_share=float(kept.mean()),
        kept_s=float(lengths[kept].mean()) if kept.any() else None,
        notes=(*amounts.notes, f"clean keeps {int(kept.sum()):,} of {len(kept):,} clips."),
    )


def _after_extract(amounts: Amounts, corpus: str, workspace: Workspace) -> Amounts:
    """Add what the index of the shards knows about the samples."""
    index = _columns(workspace.shards / "index.parquet", corpus, "num_frames")
    if index is None or not len(index["num_frames"]):
        note = "One face per clip is assumed until `extract` has run."
        return replace(amounts, sample_s=amounts.kept_s, notes=(*amounts.notes, note))
    frames = index["num_frames"]
    kept = amounts.kept_share * (amounts.clips or 0)
    return replace(
        amounts,
        samples_per_clip=len(frames) / kept if kept else 1.0,
        sample_s=float(frames.mean()) / FPS,
        notes=(*amounts.notes, f"The shards hold {len(frames):,} samples."),
    )


def _columns(path: Path, corpus: str, *names: str) -> dict[str, Any] | None:
    """Columns of a table as arrays; None if it is missing, damaged or of another corpus."""
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["corpus", *names])
    except (OSError, pa.ArrowException):
        return None
    if pc.unique(table["corpus"]).to_pylist() != [corpus]:
        return None
    return {name: table[name].to_numpy() for name in names}


def shard_bytes_per_s(workspace: Workspace, storage: str) -> float | None:
    """Bytes of this project's shards per second of a face; None before `extract` has run."""
    try:
        manifest = read_json(workspace.shards / "manifest.json")
        size = sum(shard["size_bytes"] for shard in manifest["shards"])
        frames = sum(shard["num_frames"] for shard in manifest["shards"])
        return size * FPS / frames if manifest["storage"] == storage and frames else None
    except (CheckError, KeyError, TypeError):
        return None


class _NoSources:
    """A ledger that a listing does not need."""

    def sources(self, stage: str) -> dict[str, SourceRow]:
        return {}

    def record_source(self, stage: str, row: SourceRow) -> None:
        raise AssertionError(f"a listing records nothing of {stage}: {row}")
