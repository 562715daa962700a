"""download: bring the raw clips of a corpus into `data/raw` and write their table.

The demo corpus is rendered, clips in a folder are linked, and clips in archives are extracted. A
batch is one speaker of the demo corpus, or some hundred clips of another corpus. Raw files stay
between runs: a file that is there and right is not made again.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from avsep.corpora.catalogue import open_corpus
from avsep.corpora.config import CorpusConfig
from avsep.corpora.corpus import Corpus
from avsep.corpora.journal import Journal
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.errors import CheckError, ItemError, State
from avsep.files import settings_hash, sha256_text, write_table
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.schema import SPLITS, RawClip
from avsep.shared_speakers import shared_speakers_note
from avsep.tables import Rows, arrow_schema, table_of
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import known_outcomes, remove_stale_files, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

NAME = "download"
CLIPS_PER_BATCH = 500  # at most, on average; the clips of a video stay together


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(CorpusConfig, PoolSettings):
    """Settings of `download`: the corpus and the process pool."""

    def __post_init__(self) -> None:
        CorpusConfig.__post_init__(self)
        PoolSettings.__post_init__(self)


def plan(config: DownloadConfig, workspace: Workspace) -> list[Batch]:
    """The batches of the clips that the corpus has now.

    Raises:
        UsageError: the corpus or its settings are wrong.
        CheckError: the copy of the corpus is damaged or incomplete.
    """
    _corpus.cache_clear()  # the corpus may have grown
    try:
        found = sorted(_corpus(config, workspace).list_clips(), key=lambda clip: clip.clip_id)
    except OSError as error:
        raise CheckError(f"{error.filename} cannot be read: {error.strerror}.") from error
    by_batch: dict[str, list[SourceClip]] = defaultdict(list)
    for clip, name in zip(found, _batch_names(found), strict=True):
        by_batch[name].append(clip)
    return [
        Batch(
            name=name,
            items=tuple(clip.clip_id for clip in clips),
            settings=settings_hash(NAME, [asdict(clip) for clip in clips]),
            rows=tuple(clips),
        )
        for name, clips in sorted(by_batch.items())
    ]


def work(
    config: DownloadConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Bring the files of a batch that are not there yet."""
    corpus = _corpus(config, workspace)
    clips = _by_id(batch)
    journal = _journal(workspace, batch.name)
    infos = {
        clip_id: info
        for clip_id, info in journal.read(clips).items()
        if corpus.is_present(clips[clip_id], info)
    }
    outcomes = [
        Outcome.found(clip_id, source=clips[clip_id].video, sha256=info.sha256)
        for clip_id, info in infos.items()
    ]
    outcomes += [
        outcome
        for outcome in known_outcomes(workspace, NAME, batch)
        if outcome.state is not State.DONE and outcome.item not in infos
    ]
    progress(len(outcomes))
    ended = {outcome.item for outcome in outcomes}
    for clip, result in corpus.fetch_all(
        [clip for clip in batch.rows if clip.clip_id not in ended],
        workers=config.num_workers,
        timeout_s=config.item_timeout_s,
    ):
        if isinstance(result, FileInfo):
            journal.add(clip, result)
            infos[clip.clip_id] = result
        outcomes.append(_outcome(clip, result))
        progress(1)
    journal.rewrite(clips, infos)
    outcomes = [replace(o, path=_source_path(clips[o.item])) for o in outcomes]
    outcomes.sort(key=lambda outcome: outcome.item)
    write_marker(workspace, NAME, batch, outcomes)
    return outcomes


def finish(
    config: DownloadConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Write the table of raw clips and remove the files that are not in it.

    Raises:
        CheckError: there are no clips, or a finished file has changed since.
    """
    done = {outcome.item for outcome in outcomes if outcome.state is State.DONE}
    rows = _raw_clips(workspace, batches, done)
    if len(rows) != len(done):
        raise CheckError(f"{len(done) - len(rows)} raw files have changed; run the stage again.")
    if not rows:
        raise CheckError("there are no raw clips; `avsep ledger failures download` says why.")
    journals = [_journal(workspace, batch.name).path for batch in batches]
    remove_stale_files(workspace, NAME, batches, journals)
    _remove_stale_clips(workspace.raw, config.corpus, {path for (path,) in rows.tuples("path")})
    write_table(workspace.raw_table, rows.table)
    splits = Counter(split for (split,) in rows.tuples("split"))
    notes = {
        "left out": _corpus(config, workspace).left_out(),
        "WARNING": shared_speakers_note(rows.tuples("speaker", "split")),
    }
    return StageReport(
        stage=NAME,
        counts=Counts.of(outcomes),
        facts={
            "speakers": len({speaker for (speaker,) in rows.tuples("speaker")}),
            "megabytes": round(sum(size for (size,) in rows.tuples("size_bytes")) / 1e6, 1),
            **{split: splits[split] for split in SPLITS},
            **{name: note for name, note in notes.items() if note},
        },
    )


def _raw_clips(
    workspace: Workspace, batches: Sequence[Batch], done: Collection[str]
) -> Rows[RawClip]:
    """The finished clips, sorted by id; one batch at a time is held as objects."""
    import pyarrow as pa

    parts = [arrow_schema(RawClip).empty_table()]
    for batch in batches:
        clips = _by_id(batch)
        infos = _journal(workspace, batch.name).read(clips)
        found = [clips[item].raw_clip(info) for item, info in infos.items() if item in done]
        parts.append(table_of(found, RawClip))
    table = pa.concat_tables(parts).sort_by("clip_id").combine_chunks()
    return Rows(table, RawClip, workspace.raw_table)


@lru_cache(maxsize=1)  # opening a corpus may mean listing large archives
def _corpus(config: DownloadConfig, workspace: Workspace) -> Corpus:
    return open_corpus(config, workspace, Ledger(workspace.ledger))


def _batch_names(clips: Sequence[SourceClip]) -> list[str]:
    """The name of the batch of each clip.

    A hash of the video, or of the clip id, chooses one of 2^n batches. So adding or removing a file
    rarely moves other clips to another batch.
    """
    if all(clip.corpus == "demo" for clip in clips):
        return [clip.speaker for clip in clips]
    count = 1
    while len(clips) > count * CLIPS_PER_BATCH:
        count *= 2
    hashes = (int(sha256_text(clip.video or clip.clip_id)[:8], 16) for clip in clips)
    corpus = clips[0].corpus
    return [f"{corpus}-{number % count:05d}-of-{count:05d}" for number in hashes]


def _outcome(clip: SourceClip, result: FileInfo | ItemError) -> Outcome:
    """How a clip ended that was brought, or could not be brought, just now."""
    if isinstance(result, ItemError):
        ended = Outcome.ended(clip.clip_id, result.reason, result.message)
        return replace(ended, attempts=result.attempts, source=clip.video)
    return replace(Outcome.done(clip.clip_id), source=clip.video, sha256=result.sha256)


def _source_path(clip: SourceClip) -> str:
    """Where a clip comes from, as text that a database takes: a name need not be UTF-8."""
    return os.fsencode(clip.source).decode("utf-8", "backslashreplace")


def _by_id(batch: Batch) -> dict[str, SourceClip]:
    return {clip.clip_id: clip for clip in batch.rows}


def _journal(workspace: Workspace, name: str) -> Journal:
    return Journal(workspace.work(NAME) / f"{name}.jsonl")


def _remove_stale_clips(raw: Path, corpus: str, wanted: Collection[str]) -> None:
    """Remove clips and links of earlier settings, and temporary files of a killed run.

    Args:
        raw: folder of all raw clips.
        corpus: name of the folder in it that is searched.
        wanted: paths of the clips that stay, relative to `raw`.
    """
    for folder, folders, files in os.walk(raw / corpus, topdown=False):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *links):
            path = here / name
            if (path.is_symlink() or path.is_file()) and (
                path.relative_to(raw).as_posix() not in wanted
            ):
                path.unlink()
        if folder != str(raw / corpus) and not any(here.iterdir()):
            here.rmdir()


STAGE = Stage(NAME, DownloadConfig, plan, work, finish, purpose="fetch or render the clips")
