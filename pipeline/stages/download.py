"""download: bring the raw clips of a corpus into `data/raw` and write their table.

The demo corpus is rendered, clips that lie in a folder are linked, those in archives are written
out. A batch is a speaker of the demo corpus, or some hundred clips of another. Raw files stay
from run to run: one that is there and right is not made again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.corpora.catalogue import Corpus, CorpusChoice, open_corpus
from pipeline.corpora.journal import Journal
from pipeline.corpora.offer import Offer
from pipeline.errors import CheckError, ItemError, Reason, State
from pipeline.ledger import Counts, Outcome
from pipeline.markers import forget_strangers, known_outcomes, write_marker
from pipeline.runner import Batch, Progress, StageReport, default_workers
from pipeline.schema import SPLITS, RawClip
from pipeline.storage import Workspace, settings_hash, sha256_text
from pipeline.tables import write_rows

STAGE = "download"
FILES_A_BATCH = 500  # at most on average; a video's clips stay together


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(CorpusChoice):
    """Settings of `download`; which corpus is in `CorpusChoice`.

    Attributes:
        workers: processes; None for one a core, 0 to work in the main process.
        item_timeout_s: most time for one clip, in seconds.
        max_failed_share: share of clips that may fail before the stage does.
    """

    workers: int | None = None
    item_timeout_s: float = 600.0
    max_failed_share: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more, or empty.")
        if self.item_timeout_s <= 0:
            raise ValueError(f"item_timeout_s is {self.item_timeout_s}; it must be above 0.")
        if not 0 <= self.max_failed_share <= 1:
            raise ValueError(f"max_failed_share is {self.max_failed_share}; it is a share, 0 to 1.")


def plan(config: DownloadConfig, workspace: Workspace) -> list[Batch]:
    """Batches of what the corpus offers now.

    Raises:
        UsageError: the folder or its csv is wrong.
    """
    _looked_up.clear()
    return [
        Batch(name=name, items=tuple(offers), settings=_settings(offers))
        for name, offers in sorted(_opened(config, workspace)[1].items())
    ]


def work(
    config: DownloadConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Bring the files of a batch that are not there yet."""
    corpus, by_batch = _opened(config, workspace)
    offers = by_batch.get(batch.name, {})
    journal = _journal(workspace, batch.name)
    contents = {
        clip_id: content
        for clip_id, content in journal.read(offers).items()
        if corpus.is_there(offers[clip_id], content)
    }
    outcomes = [
        outcome
        for outcome in known_outcomes(workspace, STAGE, batch)
        if outcome.state is not State.DONE and outcome.item not in contents
    ]
    outcomes += [
        Outcome.found(item, source=offers[item].video, sha256=contents[item].sha256)
        for item in batch.items
        if item in contents
    ]
    progress(len(outcomes))
    ended = {outcome.item for outcome in outcomes}
    todo = []
    for item in batch.items:
        if item in ended:
            continue
        if item in offers:
            todo.append(offers[item])
        else:
            message = "it is gone since the stage began"
            outcomes.append(Outcome.ended(item, Reason.FILE_MISSING, message))
    for offer, result in corpus.fetch_all(
        todo,
        workers=default_workers() if config.workers is None else config.workers,
        timeout_s=config.item_timeout_s,
    ):
        if isinstance(result, ItemError):
            ended_now = Outcome.ended(offer.clip_id, result.reason, result.message)
            outcomes.append(replace(ended_now, attempts=result.attempts, source=offer.video))
        else:
            journal.add(offer, result)
            contents[offer.clip_id] = result
            done = Outcome.done(offer.clip_id)
            outcomes.append(replace(done, source=offer.video, sha256=result.sha256))
        progress(1)
    journal.rewrite(offers, contents)
    outcomes.sort(key=lambda outcome: outcome.item)
    write_marker(workspace, STAGE, batch, outcomes)
    return outcomes


def finish(
    config: DownloadConfig, workspace: Workspace, outcomes: Sequence[Outcome]
) -> StageReport:
    """Write the table of raw clips; remove files that it does not name.

    Raises:
        CheckError: nothing was brought, or a finished file is gone again.
    """
    _, offers = _opened(config, workspace)
    rows: list[RawClip] = []
    done = {outcome.item for outcome in outcomes if outcome.state is State.DONE}
    for name, of_batch in offers.items():
        contents = _journal(workspace, name).read(of_batch)
        rows += [of_batch[item].raw_clip(contents[item]) for item in contents if item in done]
    if len(rows) != len(done):
        raise CheckError(f"{len(done) - len(rows)} raw files changed meanwhile; run it again.")
    if not rows:
        raise CheckError("there is not one raw clip; `avsep ledger failures download` says why.")
    rows.sort(key=lambda row: row.clip_id)
    _forget_old_work(workspace, offers)
    _remove_strangers(workspace.raw / config.corpus, {workspace.raw / row.path for row in rows})
    write_rows(workspace.raw_table, rows, RawClip)
    splits = Counter(row.split for row in rows)
    return StageReport(
        stage=STAGE,
        counts=Counts.of(outcomes),
        facts={
            "speakers": len({row.speaker for row in rows}),
            "megabytes": round(sum(row.size_bytes for row in rows) / 1e6, 1),
            **{split: splits[split] for split in SPLITS},
        },
    )


Offers = dict[str, dict[str, Offer]]
"""By batch name, then by clip id, both sorted."""

_looked_up: dict[tuple[DownloadConfig, Workspace], tuple[Corpus, Offers]] = {}


def _opened(config: DownloadConfig, workspace: Workspace) -> tuple[Corpus, Offers]:
    """The corpus and what it offers, in batches; looked up once for all batches of a run."""
    key = (config, workspace)
    if key not in _looked_up:
        corpus = open_corpus(config, workspace)
        found = corpus.offers()
        batches: Offers = defaultdict(dict)
        names = _batch_names(found)
        for offer, name in sorted(zip(found, names, strict=True), key=lambda pair: pair[0].clip_id):
            batches[name][offer.clip_id] = offer
        _looked_up[key] = corpus, dict(sorted(batches.items()))
    return _looked_up[key]


def _batch_names(offers: Sequence[Offer]) -> list[str]:
    """Which batch each offer is in.

    Clips are spread by the hash of their video, or of their ids, over a power of two of batches,
    so that a file more or less hardly moves the others.
    """
    if all(offer.corpus == "demo" for offer in offers):
        return [offer.speaker for offer in offers]
    count = 1
    while len(offers) > count * FILES_A_BATCH:
        count *= 2
    places = (sha256_text(offer.video or offer.clip_id)[:8] for offer in offers)
    corpus = offers[0].corpus
    return [f"{corpus}-{int(place, 16) % count:05d}-of-{count:05d}" for place in places]


def _settings(offers: dict[str, Offer]) -> str:
    return settings_hash(STAGE, [asdict(offer) for offer in offers.values()])


def _journal(workspace: Workspace, name: str) -> Journal:
    return Journal(workspace.work(STAGE) / f"{name}.jsonl")


def _forget_old_work(workspace: Workspace, offers: Offers) -> None:
    forget_strangers(workspace, STAGE, [Batch(name=name, items=()) for name in offers])
    for path in sorted(workspace.work(STAGE).glob("*.jsonl")):
        if path.stem not in offers:
            path.unlink()


def _remove_strangers(raw: Path, wanted: set[Path]) -> None:
    """Remove clips and links of earlier settings, and what a kill left behind."""
    for path in sorted(raw.rglob("*"), reverse=True):  # what is in a folder comes before it
        if path.is_symlink() or path.is_file():
            if path not in wanted:
                path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
