"""mix: measure the samples of the shards and draw the recipes of mixtures; writes no sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avsep.errors import CheckError, ItemError
from avsep.files import replaced_directory, settings_hash, sha256_file
from avsep.mixing.config import LISTED, NoiseConfig, SelectionConfig
from avsep.outcome import Counts, Outcome
from avsep.processes import default_workers, map_items
from avsep.progress import Progress
from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME, SPLITS
from avsep.settings import as_values
from avsep.validation import check_at_least, check_positive, check_share
from avsep.workspace import Workspace
from pipeline.execution.markers import read_marker, remove_stale_files, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from avsep.mixing.voices import Voice, VoiceTable
    from avsep.schema import MixtureRecipe
    from avsep.shards.index import Index, IndexRow
    from avsep.shards.store import ShardStore

NAME = "mix"
VERSION = 2  # of the measurements; a new version measures every sample again
ProtocolName = Literal["strict-2mix", "ctcnet-2mix", "muse-2mix", "visualvoice-2mix", "strict-3mix"]
SAMPLES_PER_WORKER = 250  # fewer are measured before a process has started


@dataclass(frozen=True, kw_only=True)
class MixConfig(SelectionConfig, PoolSettings):
    """Settings of `mix`. `SelectionConfig` holds what a sample must be like.

    Attributes:
        protocol: how mixtures are drawn, see `avsep.mixing.published_protocols`.
        training: protocol of training; the same as `protocol` when empty.
        val_list: a published list (`.scp` or `.csv`, also with `.gz`) to use instead of a drawn
            list of validation mixtures; relative to the project folder.
        test_list: a published list to use instead of a drawn list of test mixtures.
        max_missing_share: largest share of a published list's mixtures that may be missing
            because the shards lack a voice, 0..1.
        seed: seed of all lists and of training.
        train_seconds: length of a training mixture, a multiple of 0.04; a training may choose
            another.
        val_seconds: length of a validation mixture, a multiple of 0.04.
        test_seconds: length of a test mixture, a multiple of 0.04.
        val_mixtures: number of validation mixtures.
        test_mixtures: number of test mixtures.
        noise: noise under the mixtures of both lists.
        speakers: mix only these speakers; all when empty.
        require_all_splits: stop if a split has no two voices to mix; otherwise its list is empty.
        allow_shared_speakers: go on if a speaker is in two splits. Results on such a test list do
            not show how well new speakers are separated.
        grow_lists: also draw the lists of val and test from clips that were added to the set
            later; otherwise these lists stay the same however the set grows.
        workers: number of processes; None for as many as the number of samples justifies.
        batch_size: number of samples in one unit of work.
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
        check_positive(self, *(f"{split}_seconds" for split in SPLITS))
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
            ValueError: the length is not a whole number of frames.
        """
        seconds = getattr(self, f"{split}_seconds")
        num_samples = round(seconds * RATE_HZ)
        if num_samples == 0 or num_samples % SAMPLES_PER_FRAME:
            raise ValueError(f"{split}_seconds is {seconds}; it must be a multiple of 0.04.")
        return num_samples

    def num_mixtures(self, split: str) -> int:
        """Number of mixtures in the list of `val` or `test`."""
        return int(getattr(self, f"{split}_mixtures"))


def plan(config: MixConfig, workspace: Workspace) -> list[Batch]:
    """Batches of samples in the order of the index.

    Raises:
        CheckError: there are no shards, or they lack a speaker or a score that the settings name.
        UsageError: `select` compares a text with a number.
    """
    from avsep.mixing.selection import check_scores

    index = _open_index(workspace)
    numbers = _numbers_of_speakers(index, config.speakers)
    check_scores(index.scores(), (row for _, row in _chosen(index, numbers)), config.selection)
    lengths = [config.num_samples(split) for split in SPLITS]
    batches: list[Batch] = []
    chosen = _chosen(index, numbers)
    while chunk := list(islice(chosen, config.batch_size)):
        settings = settings_hash(
            NAME, VERSION, as_values(config.selection), lengths, [repr(row) for _, row in chunk]
        )
        batches.append(
            Batch(
                name=f"{len(batches):05d}",
                items=tuple(sorted(row.key for _, row in chunk)),
                settings=settings,
                rows=tuple(number for number, _ in chunk),  # of the index: rows are made in `work`
            )
        )
    return batches


def work(
    config: MixConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Measure the samples of a batch."""
    from avsep.mixing.measuring import measure_sample, open_store
    from avsep.mixing.voices import write_voices
    from avsep.shards.manifest import MANIFEST_NAME

    if finished := read_marker(workspace, NAME, batch):
        progress(len(batch.items))
        return finished[0]
    voices: list[Voice] = []
    outcomes: list[Outcome] = []
    manifest_sha256 = sha256_file(workspace.shards / MANIFEST_NAME)
    measure = partial(
        measure_sample,
        shards=workspace.shards,
        manifest_sha256=manifest_sha256,
        num_frames={split: config.num_samples(split) // SAMPLES_PER_FRAME for split in SPLITS},
        selection=config.selection,
    )
    index = open_store(workspace.shards, manifest_sha256).index
    rows = [index[number] for number in batch.rows]
    workers = _workers(config, len(index))
    for row, result in map_items(measure, rows, workers=workers, timeout_s=config.item_timeout_s):
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(row.key, result.reason, result.message))
        else:
            voices.append(result)
            outcomes.append(Outcome.done(row.key))
        progress(1)
    outcomes.sort(key=lambda outcome: outcome.item)
    write_voices(voices_path(workspace, batch), sorted(voices, key=lambda voice: voice.key))
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
    from avsep.mixing.noise import noisy_list
    from avsep.mixing.publish import publish
    from avsep.mixing.summary import report_facts
    from avsep.shards.store import ShardStore

    voices = [voices_path(workspace, batch) for batch in batches]
    remove_stale_files(workspace, NAME, batches, voices, "*")
    store = ShardStore(workspace.shards)
    tables = _tables(config, workspace, store.index, batches)
    lists = {split: _make_list(config, workspace, store, split, tables[split]) for split in LISTED}
    with replaced_directory(workspace.mixtures) as out:
        if config.noise.folder:
            folder = workspace.root / config.noise.folder
            lists = {
                split: noisy_list(
                    recipes, store.audio, folder, out, split=split, config=config.noise
                )
                for split, recipes in lists.items()
            }
        publish(out, tables, lists, seed=config.seed, training=config.training or config.protocol)
    return StageReport(stage=NAME, counts=Counts.of(outcomes), facts=report_facts(tables, lists))


def _open_index(workspace: Workspace) -> Index:
    from avsep.shards.store import ShardStore

    return ShardStore(workspace.shards).index


def _numbers_of_speakers(index: Index, speakers: Sequence[str]) -> NDArray[np.int64]:
    """The numbers of the rows of some speakers; all rows when empty."""
    import numpy as np

    if not speakers:
        return np.arange(len(index))
    numbers = {speaker: index.positions("speaker", speaker) for speaker in speakers}
    if unknown := sorted(speaker for speaker, found in numbers.items() if not len(found)):
        raise CheckError(f"mix.speakers names {', '.join(unknown)}, who has no sample.")
    return np.sort(np.concatenate(list(numbers.values())))


def _chosen(index: Index, numbers: NDArray[np.int64]) -> Iterator[tuple[int, IndexRow]]:
    """The rows of an index with these numbers, which rise."""
    if len(numbers) == len(index):
        yield from enumerate(index)
    else:
        yield from ((number, index[number]) for number in numbers.tolist())


def _workers(config: MixConfig, num_samples: int) -> int:
    """The number of processes, for a set of so many samples: one pool measures all batches."""
    if config.workers is not None:
        return config.workers
    useful = min(default_workers(), num_samples // SAMPLES_PER_WORKER)
    return useful if useful > 1 else 0


def _tables(
    config: MixConfig, workspace: Workspace, index: Index, batches: Sequence[Batch]
) -> dict[str, VoiceTable]:
    """The measured voices of each split, checked for what the lists and the training need."""
    import numpy as np

    from avsep.mixing.splits import check_splits, split_tables
    from avsep.mixing.training import check_enough
    from avsep.mixing.voices import Voices, read_voices

    tables = split_tables(
        Voices.joined([read_voices(voices_path(workspace, batch)) for batch in batches]),
        index,
        np.fromiter((number for batch in batches for number in batch.rows), np.int64),
        {split: config.num_samples(split) for split in SPLITS},
        config.min_activity,
        grow_lists=config.grow_lists,
    )
    drawn = [s for s in LISTED if config.num_mixtures(s) and not getattr(config, f"{s}_list")]
    check_splits(
        tables,
        ["train", *drawn] if config.require_all_splits else [],
        allow_shared_speakers=config.allow_shared_speakers,
    )
    if config.require_all_splits:
        check_enough(tables["train"], config.training or config.protocol)
    return tables


def _make_list(
    config: MixConfig, workspace: Workspace, store: ShardStore, split: str, table: VoiceTable
) -> list[MixtureRecipe]:
    """The list of `val` or `test`: the published one that the settings name, or a drawn one."""
    from avsep.mixing.importing import import_list
    from avsep.mixing.protocols import draw_list
    from avsep.mixing.published_protocols import PROTOCOLS

    if external := getattr(config, f"{split}_list"):
        return import_list(
            workspace.root / external,
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


def voices_path(workspace: Workspace, batch: Batch) -> Path:
    """Where the measured voices of a batch lie."""
    return workspace.work(NAME) / f"{batch.name}-{batch.settings}.parquet"


STAGE = Stage(NAME, MixConfig, plan, work, finish, purpose="draw which voices are mixed")
