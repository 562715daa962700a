"""download: bring the raw clips of a corpus into `data/raw` and write their table.

The demo corpus is rendered, the videos of a folder are linked. A batch is a speaker of the demo
corpus, or some hundred files of a folder. Raw files stay from run to run: one that is there and
right is not made again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pipeline.corpora import folder
from pipeline.corpora.demo import offers as demo
from pipeline.corpora.demo.config import DemoConfig
from pipeline.corpora.folder import FolderConfig
from pipeline.corpora.journal import Journal
from pipeline.corpora.offer import Content, Offer, read_content
from pipeline.errors import CheckError, ItemError, Reason, State
from pipeline.ledger import Counts, Outcome
from pipeline.markers import forget_strangers, read_marker, write_marker
from pipeline.runner import Batch, Progress, StageReport, default_workers, map_items
from pipeline.schema import SPLITS, RawClip
from pipeline.storage import Workspace, settings_hash, sha256_text
from pipeline.tables import write_rows

STAGE = "download"
FILES_A_BATCH = 500  # of a folder, at most on average


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Settings of `download`.

    Attributes:
        corpus: `demo` is rendered here, `folder` is a folder of your own videos.
        seed: of the demo corpus's pictures, and of the splits of a folder.
        demo: settings of the demo corpus.
        folder: settings of a folder.
        workers: processes; None for one a core, 0 to work in the main process.
        item_timeout_s: most time for one clip, in seconds.
        max_failed_share: share of clips that may fail before the stage does.
    """

    corpus: Literal["demo", "folder"] = "demo"
    seed: int = 0
    demo: DemoConfig = field(default_factory=DemoConfig)
    folder: FolderConfig = field(default_factory=FolderConfig)
    workers: int | None = None
    item_timeout_s: float = 600.0
    max_failed_share: float = 0.02

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more.")
        if self.corpus == "folder" and not self.folder.root:
            raise ValueError("folder.root is empty; set it to the folder with your videos.")
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
        for name, offers in sorted(_offers(config, workspace).items())
    ]


def work(
    config: DownloadConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Bring the files of a batch that are not there yet."""
    offers = _offers(config, workspace).get(batch.name, {})
    journal = _journal(workspace, batch.name)
    contents = {
        clip_id: content
        for clip_id, content in journal.read(offers).items()
        if _is_right(config, workspace, offers[clip_id], content)
    }
    finished = read_marker(workspace, STAGE, batch)
    if finished is not None and {o.item for o in finished[0] if o.state is State.DONE} <= set(
        contents
    ):
        progress(len(batch.items))
        return finished[0]
    outcomes = [Outcome.done(item) for item in batch.items if item in contents]
    progress(len(outcomes))
    todo = []
    for item in batch.items:
        if item in offers:
            todo += [offers[item]] if item not in contents else []
        else:
            message = "it is gone since the stage began"
            outcomes.append(Outcome.ended(item, Reason.FILE_MISSING, message))
    for offer, result in map_items(
        _fetch(config, workspace),
        todo,
        workers=default_workers() if config.workers is None else config.workers,
        timeout_s=config.item_timeout_s,
    ):
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(offer.clip_id, result.reason, result.message))
        else:
            journal.add(offer, result)
            contents[offer.clip_id] = result
            outcomes.append(Outcome.done(offer.clip_id))
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
    offers = _offers(config, workspace)
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
    _remove_strangers(workspace.raw / config.corpus, {Path(row.path).name for row in rows})
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

_looked_up: dict[tuple[DownloadConfig, Workspace], Offers] = {}


def _offers(config: DownloadConfig, workspace: Workspace) -> Offers:
    """What the corpus offers, in batches; looked up once for all batches of a run."""
    key = (config, workspace)
    if key not in _looked_up:
        if config.corpus == "demo":
            found = demo.offers(config.demo, config.seed)
        else:
            found = folder.offers(config.folder, workspace.root, workspace.raw, config.seed)
        batches: Offers = defaultdict(dict)
        names = _batch_names(found)
        for offer, name in sorted(zip(found, names, strict=True), key=lambda pair: pair[0].clip_id):
            batches[name][offer.clip_id] = offer
        _looked_up[key] = dict(sorted(batches.items()))
    return _looked_up[key]


def _batch_names(offers: Sequence[Offer]) -> list[str]:
    """Which batch each offer is in.

    A folder's files are spread by the hash of their ids over a power of two of batches, so that
    a file more or less hardly moves the others.
    """
    if all(offer.corpus == "demo" for offer in offers):
        return [offer.speaker for offer in offers]
    count = 1
    while len(offers) > count * FILES_A_BATCH:
        count *= 2
    places = (sha256_text(offer.clip_id)[:8] for offer in offers)
    return [f"folder-{int(place, 16) % count:05d}-of-{count:05d}" for place in places]


def _settings(offers: dict[str, Offer]) -> str:
    return settings_hash(STAGE, [asdict(offer) for offer in offers.values()])


def _fetch(config: DownloadConfig, workspace: Workspace) -> Callable[[Offer], Content]:
    if config.corpus == "demo":
        return partial(demo.render, raw=workspace.raw, seed=config.seed)
    return partial(folder.link, raw=workspace.raw)


def _is_right(config: DownloadConfig, workspace: Workspace, offer: Offer, content: Content) -> bool:
    """Whether the raw file is there as the journal says."""
    if config.corpus == "folder":
        return folder.linked(offer, workspace.raw)
    try:
        return read_content(workspace.raw / offer.path) == content
    except ItemError:
        return False


def _journal(workspace: Workspace, name: str) -> Journal:
    return Journal(workspace.work(STAGE) / f"{name}.jsonl")


def _forget_old_work(workspace: Workspace, offers: Offers) -> None:
    forget_strangers(workspace, STAGE, [Batch(name=name, items=()) for name in offers])
    for path in sorted(workspace.work(STAGE).glob("*.jsonl")):
        if path.stem not in offers:
            path.unlink()


def _remove_strangers(raw: Path, wanted: set[str]) -> None:
    """Remove clips and links of earlier settings, and what a kill left behind."""
    for path in sorted(raw.iterdir()):
        if path.name not in wanted and (path.is_file() or path.is_symlink()):
            path.unlink()
