"""download: bring the raw clips of a corpus into `data/raw` and write their table.

The demo corpus is rendered, clips that lie in a folder are linked, those in archives are written
out. A batch is a speaker of the demo corpus, or some hundred clips of another. Raw files stay
from run to run: one that is there and right is not made again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from avsep.corpora.catalogue import Corpus, CorpusChoice, open_corpus
from avsep.corpora.journal import Journal
from avsep.corpora.source_clip import SourceClip
from avsep.errors import CheckError, ItemError, State
from avsep.files import settings_hash, sha256_text
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.schema import SPLITS, RawClip
from avsep.tables import write_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import known_outcomes, remove_stale_markers, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

NAME = "download"
FILES_A_BATCH = 500  # at most on average; a video's clips stay together


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(CorpusChoice, PoolSettings):
    """Settings of `download`; which corpus is in `CorpusChoice`."""

    def __post_init__(self) -> None:
        CorpusChoice.__post_init__(self)
        PoolSettings.__post_init__(self)


def plan(config: DownloadConfig, workspace: Workspace) -> list[Batch]:
    """Batches of what the corpus has now.

    Raises:
        UsageError: the folder or its csv is wrong.
    """
    _corpus.cache_clear()  # it may have grown
    found = sorted(_corpus(config, workspace).list_clips(), key=lambda clip: clip.clip_id)
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
    contents = {
        clip_id: content
        for clip_id, content in journal.read(clips).items()
        if corpus.is_present(clips[clip_id], content)
    }
    outcomes = [
        outcome
        for outcome in known_outcomes(workspace, NAME, batch)
        if outcome.state is not State.DONE and outcome.item not in contents
    ]
    outcomes += [
        Outcome.found(item, source=clips[item].video, sha256=contents[item].sha256)
        for item in batch.items
        if item in contents
    ]
    progress(len(outcomes))
    ended = {outcome.item for outcome in outcomes}
    for clip, result in corpus.fetch_all(
        [clip for clip in batch.rows if clip.clip_id not in ended],
        workers=config.num_workers,
        timeout_s=config.item_timeout_s,
    ):
        if isinstance(result, ItemError):
            ended_now = Outcome.ended(clip.clip_id, result.reason, result.message)
            outcomes.append(replace(ended_now, attempts=result.attempts, source=clip.video))
        else:
            journal.add(clip, result)
            contents[clip.clip_id] = result
            done = Outcome.done(clip.clip_id)
            outcomes.append(replace(done, source=clip.video, sha256=result.sha256))
        progress(1)
    journal.rewrite(clips, contents)
    outcomes.sort(key=lambda outcome: outcome.item)
    write_marker(workspace, NAME, batch, outcomes)
    return outcomes


def finish(
    config: DownloadConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Write the table of raw clips; remove files that it does not name.

    Raises:
        CheckError: nothing was brought, or a finished file is gone again.
    """
    rows: list[RawClip] = []
    done = {outcome.item for outcome in outcomes if outcome.state is State.DONE}
    for batch in batches:
        clips = _by_id(batch)
        contents = _journal(workspace, batch.name).read(clips)
        rows += [clips[item].raw_clip(contents[item]) for item in contents if item in done]
    if len(rows) != len(done):
        raise CheckError(f"{len(done) - len(rows)} raw files changed meanwhile; run it again.")
    if not rows:
        raise CheckError("there is not one raw clip; `avsep ledger failures download` says why.")
    rows.sort(key=lambda row: row.clip_id)
    _remove_stale_work(workspace, batches)
    _remove_stale_files(workspace.raw / config.corpus, {workspace.raw / row.path for row in rows})
    write_rows(workspace.raw_table, rows, RawClip)
    splits = Counter(row.split for row in rows)
    return StageReport(
        stage=NAME,
        counts=Counts.of(outcomes),
        facts={
            "speakers": len({row.speaker for row in rows}),
            "megabytes": round(sum(row.size_bytes for row in rows) / 1e6, 1),
            **{split: splits[split] for split in SPLITS},
        },
    )


@lru_cache(maxsize=1)  # opening one may mean reading the directories of its archives
def _corpus(config: DownloadConfig, workspace: Workspace) -> Corpus:
    return open_corpus(config, workspace, Ledger(workspace.ledger))


def _batch_names(clips: Sequence[SourceClip]) -> list[str]:
    """Which batch each clip is in.

    Clips are spread by the hash of their video, or of their ids, over a power of two of batches,
    so that a file more or less hardly moves the others.
    """
    if all(clip.corpus == "demo" for clip in clips):
        return [clip.speaker for clip in clips]
    count = 1
    while len(clips) > count * FILES_A_BATCH:
        count *= 2
    places = (sha256_text(clip.video or clip.clip_id)[:8] for clip in clips)
    corpus = clips[0].corpus
    return [f"{corpus}-{int(place, 16) % count:05d}-of-{count:05d}" for place in places]


def _by_id(batch: Batch) -> dict[str, SourceClip]:
    return {clip.clip_id: clip for clip in batch.rows}


def _journal(workspace: Workspace, name: str) -> Journal:
    return Journal(workspace.work(NAME) / f"{name}.jsonl")


def _remove_stale_work(workspace: Workspace, batches: Sequence[Batch]) -> None:
    remove_stale_markers(workspace, NAME, batches)
    names = {batch.name for batch in batches}
    for path in sorted(workspace.work(NAME).glob("*.jsonl")):
        if path.stem not in names:
            path.unlink()


def _remove_stale_files(raw: Path, wanted: set[Path]) -> None:
    """Remove clips and links of earlier settings, and what a kill left behind."""
    for path in sorted(raw.rglob("*"), reverse=True):  # what is in a folder comes before it
        if path.is_symlink() or path.is_file():
            if path not in wanted:
                path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


STAGE = Stage(NAME, DownloadConfig, plan, work, finish)
