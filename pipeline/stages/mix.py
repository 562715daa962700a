"""mix: measure the samples of the shards and draw the recipes of mixtures; writes no sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.files import fresh_directory, read_jsonl, settings_hash, write_jsonl
from avsep.mixing.config import NoiseConfig, SelectionConfig
from avsep.outcome import Counts, Outcome
from avsep.processes import default_workers, map_items
from avsep.progress import Progress
from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME, SPLITS
from avsep.settings import as_values, build
from avsep.validation import check_at_least, check_share
from avsep.workspace import Workspace
from pipeline.execution.markers import read_marker, remove_stale_markers, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

if TYPE_CHECKING:
    from avsep.mixing.voices import Voice, VoiceTable
    from avsep.schema import MixtureRecipe
    from avsep.shards.index import IndexRow
    from avsep.shards.store import ShardStore

NAME = "mix"
VERSION = 1  # of the measuring; a new one measures every sample again
LISTED = ("val", "test")
ProtocolName = Literal["strict-2mix", "ctcnet-2mix", "muse-2mix", "visualvoice-2mix", "strict-3mix"]
SAMPLES_PER_WORKER = 250  # fewer are measured sooner than a process has started


@dataclass(frozen=True, kw_only=True)
class MixConfig(SelectionConfig, PoolSettings):
    """Settings of `mix`; what a sample must be like stands in `SelectionConfig`.

    Attributes:
        protocol: how mixtures are drawn, see `avsep.mixing.published_protocols`.
        training: the protocol of training where it is to be another one, perhaps `strict-2mix`;
            as `protocol` when empty.
        val_list: a published list (`.scp` or `.csv`, maybe `.gz`) in place of a drawn one,
            relative to the project folder.
        test_list: likewise.
        max_missing_share: of mixtures of a published list that the shards cannot make.
        seed: of all lists and of training.
        train_seconds: length of a training mixture, unless the training wants another; a
            multiple of 0.04.
        val_seconds: length of a validation mixture.
        test_seconds: length of a test mixture.
        val_mixtures: number of them.
        test_mixtures: number of them.
        noise: a folder of noise to lie under the mixtures of both lists.
        speakers: take only these; all when empty.
        require_all_splits: stop where a split has no two voices to mix; otherwise its list is
            empty.
        allow_shared_speakers: go on where a speaker occurs in two splits; results on such a test
            list say nothing of new speakers.
        grow_lists: draw the lists of val and test from clips too that were added to the set later;
            otherwise these lists stay what they are however the set grows.
        workers: processes; None for as many as the samples are worth.
        batch_size: samples in one unit of work.
    """

    protocol: ProtocolName = "strict-2mix"
    training: ProtocolName | Literal[""] = ""
    val_list: str = ""
    test_list: str = ""
    max_missing_share: float = 0.0
    seed: int = 0
    train_seconds: float = 2.0
    val_seconds: float = 2.0
    test_seconds: float = 2.0
    val_mixtures: int = 100
    test_mixtures: int = 200
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    speakers: tuple[str, ...] = ()
    require_all_splits: bool = True
    allow_shared_speakers: bool = False
    grow_lists: bool = False
    batch_size: int = 1000
    item_timeout_s: float = 60.0
    max_failed_share: float = 0.0

    def __post_init__(self) -> None:
        SelectionConfig.__post_init__(self)
        PoolSettings.__post_init__(self)
        for split in SPLITS:
            self.num_samples(split)
        check_at_least(self, 0, "val_mixtures", "test_mixtures")
        check_at_least(self, 1, "batch_size")
        check_share(self, "max_missing_share")

    @property
    def selection(self) -> SelectionConfig:
        """What a sample must be like."""
        return SelectionConfig(**{f.name: getattr(self, f.name) for f in fields(SelectionConfig)})

    def num_samples(self, split: str) -> int:
        """Length of a split's mixtures at 16 kHz.

        Raises:
            ValueError: no whole number of frames.
        """
        seconds = getattr(self, f"{split}_seconds")
        num_samples = round(seconds * RATE_HZ)
        if num_samples <= 0 or num_samples % SAMPLES_PER_FRAME:
            raise ValueError(f"{split}_seconds is {seconds}; it must be a multiple of 0.04.")
        return num_samples

    def num_mixtures(self, split: str) -> int:
        """Length of the list of `val` or `test`."""
        return int(getattr(self, f"{split}_mixtures"))


def plan(config: MixConfig, workspace: Workspace) -> list[Batch]:
    """Batches of samples in the order of the index.

    Raises:
        CheckError: there are no shards, or a speaker or score that is asked for is not in them.
        UsageError: `select` compares a text with a number.
    """
    from avsep.mixing.selection import check_select, unknown_scores

    rows = _rows(config, workspace)
    if unknown := unknown_scores(rows, config.selection):
        raise CheckError(f"no sample has the score {', '.join(unknown)}; see `avsep inspect`.")
    check_select(rows, config.selection)
    lengths = [config.num_samples(split) for split in SPLITS]
    batches = []
    for first in range(0, len(rows), config.batch_size):
        chunk = rows[first : first + config.batch_size]
        settings = settings_hash(
            NAME, VERSION, as_values(config.selection), lengths, [repr(row) for row in chunk]
        )
        batches.append(
            Batch(
                name=f"{first // config.batch_size:05d}",
                items=tuple(sorted(row.key for row in chunk)),
                settings=settings,
                rows=tuple(chunk),
            )
        )
    return batches


def work(
    config: MixConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Measure the samples of a batch."""
    if finished := read_marker(workspace, NAME, batch):
        progress(len(batch.items))
        return finished[0]
    voices: list[Voice] = []
    outcomes: list[Outcome] = []
    measure = partial(
        _measure,
        directory=workspace.shards,
        frames=_window_frames(config),
        selection=config.selection,
    )
    for row, result in map_items(
        measure,
        batch.rows,
        workers=_workers(config, len(batch.rows)),
        timeout_s=config.item_timeout_s,
    ):
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(row.key, result.reason, result.message))
        else:
            voices.append(result)
            outcomes.append(Outcome.done(row.key))
        progress(1)
    voices.sort(key=lambda voice: voice.key)
    outcomes.sort(key=lambda outcome: outcome.item)
    write_jsonl(_voices_path(workspace, batch), [asdict(voice) for voice in voices])
    write_marker(workspace, NAME, batch, outcomes)
    return outcomes


def finish(
    config: MixConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Draw the lists and write them with the training table and the summary.

    Raises:
        CheckError: a split has no two voices to mix, or too few for its list, or a speaker is in
            two splits.
    """
    from avsep.mixing.publish import check_splits, publish
    from avsep.mixing.training import check_enough

    tables = _tables(config, workspace, batches)
    needed = ["train"]
    for split in LISTED:
        if config.num_mixtures(split) and not getattr(config, f"{split}_list"):
            needed.append(split)
    check_splits(
        tables,
        needed if config.require_all_splits else [],
        allow_shared_speakers=config.allow_shared_speakers,
    )
    training = config.training or config.protocol
    if config.require_all_splits:
        check_enough(tables["train"], training)
    lists = {split: _draw(config, workspace, split, tables[split]) for split in LISTED}
    out = fresh_directory(workspace.mixtures)
    if config.noise.folder:
        from avsep.mixing.noise import noisy_list

        get_audio, folder = (
            _open_store(workspace.shards).audio,
            workspace.root / config.noise.folder,
        )
        lists = {
            split: noisy_list(
                lists[split], get_audio, folder, out, split=split, config=config.noise
            )
            for split in LISTED
        }
    publish(out, tables, lists, seed=config.seed, training=training)
    return StageReport(stage=NAME, counts=Counts.of(outcomes), facts=_facts(tables, lists))


def _facts(
    tables: dict[str, VoiceTable],
    lists: dict[str, list[MixtureRecipe]],
) -> dict[str, str | int | float]:
    from avsep.mixing.summary import shared_between_splits

    facts: dict[str, str | int | float] = {
        "train voices": len(tables["train"].voices),
        "train speakers": len(tables["train"].speakers),
    }
    for split, recipes in lists.items():
        facts[f"{split} mixtures"] = len(recipes)
    if empty := [split for split, table in tables.items() if not table.has_pairs]:
        facts["without any pair to mix"] = ", ".join(empty)
    if shared := shared_between_splits(tables)["groups"]:
        facts["groups in several splits"] = len(shared)
    return facts


def _draw(
    config: MixConfig, workspace: Workspace, split: str, table: VoiceTable
) -> list[MixtureRecipe]:
    from avsep.mixing.importing import import_list
    from avsep.mixing.protocols import draw_list
    from avsep.mixing.published_protocols import PROTOCOLS

    store = _open_store(workspace.shards)
    if published := getattr(config, f"{split}_list"):
        return import_list(
            workspace.root / published,
            store.index,
            store.audio,
            split=split,
            num_samples=config.num_samples(split),
            max_missing_share=config.max_missing_share,
        )
    if not table.has_pairs:
        return []
    try:
        return draw_list(
            table,
            store.audio,
            split=split,
            seed=config.seed,
            count=config.num_mixtures(split),
            protocol=PROTOCOLS[config.protocol],
        )
    except ValueError as error:
        raise CheckError(f"mix: {error}") from error


def _tables(
    config: MixConfig, workspace: Workspace, batches: Sequence[Batch]
) -> dict[str, VoiceTable]:
    """The voices of each split, from the finished batches."""
    from avsep.mixing.voices import Voice, VoiceTable

    _remove_stale_work(workspace, batches)
    rows = [row for batch in batches for row in batch.rows]
    split_of = {row.key: row.split for row in rows}
    later = set() if config.grow_lists else _added_later(rows)
    voices: dict[str, list[Voice]] = {split: [] for split in SPLITS}
    for batch in batches:
        path = _voices_path(workspace, batch)
        try:
            for values in read_jsonl(path):
                voice = build(Voice, values, "voice")
                if voice.key not in later:
                    voices[split_of[voice.key]].append(voice)
        except (UsageError, KeyError) as error:
            raise CheckError(
                f"{path} is damaged ({error}); remove it and run mix again."
            ) from error
    return {
        split: VoiceTable(voices[split], config.num_samples(split), config.min_activity)
        for split in SPLITS
    }


def _added_later(rows: Sequence[IndexRow]) -> set[str]:
    """The samples of val and test that are not of the first batch that brought any."""
    from avsep.extraction.shard_plan import batch_of

    first: dict[str, int] = {}
    for row in rows:
        first[row.split] = min(batch_of(row.shard), first.get(row.split, batch_of(row.shard)))
    return {
        row.key for row in rows if row.split in LISTED and batch_of(row.shard) > first[row.split]
    }


def _rows(config: MixConfig, workspace: Workspace) -> list[IndexRow]:
    rows = _open_store(workspace.shards).index
    if not config.speakers:
        return rows
    wanted = set(config.speakers)
    if unknown := sorted(wanted - {row.speaker for row in rows}):
        raise CheckError(f"mix.speakers names {', '.join(unknown)}, of whom there is no sample.")
    return [row for row in rows if row.speaker in wanted]


def _window_frames(config: MixConfig) -> dict[str, int]:
    return {split: config.num_samples(split) // SAMPLES_PER_FRAME for split in SPLITS}


def _workers(config: MixConfig, count: int) -> int:
    if config.workers is not None:
        return config.workers
    worth = min(default_workers(), count // SAMPLES_PER_WORKER)
    return worth if worth > 1 else 0


def _measure(
    row: IndexRow, *, directory: Path, frames: dict[str, int], selection: SelectionConfig
) -> Voice:
    from avsep.mixing.selection import check_row, select_voice

    num_frames = frames[row.split]
    check_row(row, num_frames, selection)  # before the sound is read
    try:
        audio = _open_store(directory).audio(row.key)
    except CheckError as error:
        raise ItemError(Reason.FILE_CHANGED, str(error)) from error
    return select_voice(row, audio, num_frames, selection)


def _open_store(directory: Path) -> ShardStore:
    manifest = directory / "manifest.json"
    stamp = manifest.stat().st_mtime_ns if manifest.exists() else 0
    return _store(directory, stamp)


@lru_cache(maxsize=1)  # for each sample in a worker process; the stamp notices new shards
def _store(directory: Path, stamp_ns: int) -> ShardStore:
    from avsep.shards.store import ShardStore

    return ShardStore(directory)


def _voices_path(workspace: Workspace, batch: Batch) -> Path:
    return workspace.work(NAME) / f"{batch.name}-{batch.settings}.jsonl"


def _remove_stale_work(workspace: Workspace, batches: Sequence[Batch]) -> None:
    remove_stale_markers(workspace, NAME, batches)
    wanted = {_voices_path(workspace, batch).name for batch in batches}
    for path in sorted(workspace.work(NAME).glob("*.jsonl")):
        if path.name not in wanted:
            path.unlink()


STAGE = Stage(NAME, MixConfig, plan, work, finish)
