"""train: train one separator of `avsep.models.registry`.

The stage starts a child process (`python -m pipeline.train`), which goes on from its last
checkpoint when it is started again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from avsep.errors import CheckError, UsageError
from avsep.files import expand_home
from avsep.models.registry import LIPCODER, MODELS, ModelSpec
from avsep.outcome import Outcome
from avsep.progress import Progress
from avsep.training.config import ModelTrainConfig, RunSettings
from avsep.validation import check_at_least, check_choice
from avsep.workspace import Workspace
from pipeline.execution.run_identity import identify
from pipeline.execution.stage import Batch, Stage, StageReport
from pipeline.execution.training_run import (
    digests,
    finish_run,
    init_digest,
    require,
    train_in_child,
    training_batch,
)

if TYPE_CHECKING:
    from avsep.loading.streaming import StreamDraw
    from avsep.mixing.training import TrainingDraw
    from avsep.shards.store import ShardStore

NAME = "train"


@dataclass(frozen=True, kw_only=True)
class TrainSettings(RunSettings):
    """What the trainings of all separators share.

    Attributes:
        model: name of the model to train; set by the command line.
        val_mixtures: number of mixtures of the validation list that are used; 0 for all.
        stream_shards: number of shards that mixtures are drawn from at a time, while the shards
            are read one after the other; 0 draws from the whole set.
        stream_from: where the shards are read from: a folder, relative to the project or with
            `~`, or an `https://`, `s3://` or `gs://` address; `data/shards` when empty. Needs
            `stream_shards`. `data/shards` must have the manifest of the same set.
    """

    DECIDES_NOTHING: ClassVar[tuple[str, ...]] = (*RunSettings.DECIDES_NOTHING, "stream_from")

    model: str = ""
    val_mixtures: int = 0
    stream_shards: int = 0
    stream_from: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "val_mixtures", "stream_shards")
        if self.stream_from and not self.stream_shards:
            raise ValueError(
                "stream_from is set, but stream_shards is 0; set it to the number of shards that"
                " mixtures are drawn from at a time, e.g. 4."
            )
        if self.model:
            check_choice(self, MODELS, "model")

    @property
    def of_model(self) -> ModelTrainConfig:
        """The section of the chosen model."""
        return getattr(self, _field_name(self.model))

    @property
    def network_size(self) -> str:
        """The size of the network: that of the model that the chosen one builds on, if any."""
        bases = [name for name in MODELS[self.model].needs if name in MODELS]
        section: ModelTrainConfig = getattr(self, _field_name([*bases, self.model][0]))
        return section.size


def config_class(models: Mapping[str, ModelSpec]) -> type[TrainSettings]:
    """The class of the section `train` of `params.yaml`: the settings, and a section per model."""
    sections = [
        (_field_name(name), spec.train_config, field(default_factory=spec.train_config))
        for name, spec in models.items()
    ]
    return make_dataclass(
        "TrainConfig",
        sections,
        bases=(TrainSettings,),
        namespace={"__module__": __name__},  # so that it can be pickled
        frozen=True,
        kw_only=True,
    )


def _field_name(model: str) -> str:
    return model.replace("-", "_")


TrainConfig = config_class(MODELS)


def plan(config: TrainSettings, workspace: Workspace) -> list[Batch]:
    """One batch with the model as its only item.

    Raises:
        UsageError: no model is named.
        CheckError: an input is missing, or there is nothing to train or to validate by.
    """
    if not config.model:
        raise UsageError(f"train needs a model: {', '.join(MODELS)}.")
    spec = MODELS[config.model]
    inputs = {
        workspace.shards / "manifest.json": "extract",
        workspace.mixtures / "train.parquet": "mix",
        workspace.mixtures / "val.jsonl": "mix",
    }
    init = config.of_model.init
    for needed in () if init else spec.needs:
        command = "pretrain" if needed == LIPCODER.name else f"train --model {needed}"
        inputs[_folder(workspace, needed) / "card.json"] = command
    paths = require(inputs)
    if not (workspace.mixtures / "val.jsonl").stat().st_size:
        raise CheckError(
            f"{workspace.mixtures / 'val.jsonl'} has no mixtures; training needs some to choose its"
            " checkpoint by. Set mix.require_all_splits to true; `avsep run mix` then says what is"
            " missing."
        )
    _open_data(config, workspace, cache_bytes=0)
    identity = identify(
        config,
        config.of_model,
        stage=NAME,
        name=config.model,
        model_version=spec.version,
        inputs=digests(workspace, paths) | init_digest(workspace, init, config.model),
    )
    return [training_batch(config.model, identity)]


def work(
    config: TrainSettings, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Train in a child process, or go on with a training that was interrupted."""
    return train_in_child(workspace, NAME, batch, config, progress)


def finish(
    config: TrainSettings,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the run: checkpoints, exported model with its card, logs, metrics."""
    report = finish_run(workspace, NAME, config.model, workspace.run(config.model), outcomes)
    return replace(report, facts={"model": config.model, **report.facts})


def train_here(config: TrainSettings, workspace: Workspace, directory: Path) -> None:
    """Train in this process (one rank of possibly several).

    Raises:
        CheckError: an input is missing or damaged, or the training does not get on.
    """
    from avsep.loading.mixtures import Mixtures
    from avsep.mixing.recipes import read_recipes
    from avsep.training.loaders import cache_bytes
    from avsep.training.process import set_up_process
    from avsep.weights.initial import find_initial

    set_up_process(
        seed=config.seed, threads=config.threads, device=config.device,
        deterministic=config.deterministic,
    )  # fmt: skip
    spec, section = MODELS[config.model], config.of_model
    val = read_recipes(workspace.mixtures / "val.jsonl")
    store, draw = _open_data(config, workspace, cache_bytes=cache_bytes(config))
    data = Mixtures(store=store, draw=draw, val=val[: config.val_mixtures or None])
    if section.init:
        needed = [find_initial(section.init, config.model, workspace.root)]
    else:
        needed = [_folder(workspace, name) for name in spec.needs]
    spec.train()(section, config, data, directory, *needed)


def _open_data(
    config: TrainSettings, workspace: Workspace, *, cache_bytes: int
) -> tuple[ShardStore, TrainingDraw | StreamDraw]:
    """The samples, and what draws training mixtures of them.

    Raises:
        CheckError: something is missing or damaged, or gives no mixtures.
    """
    from avsep.loading.streaming import StreamDraw
    from avsep.mixing.training import read_training, read_training_list
    from avsep.schema import SAMPLES_PER_FRAME
    from avsep.shards.manifest import read_manifest
    from avsep.shards.store import ShardStore
    from avsep.shards.stream_store import StreamStore

    voices = workspace.mixtures / "train.parquet"
    num_samples = config.of_model.fit.num_frames * SAMPLES_PER_FRAME
    if not config.stream_shards:
        store = ShardStore(workspace.shards, cache_bytes=cache_bytes)
        return store, read_training(voices, store.audio, num_samples=num_samples)
    manifest = read_manifest(workspace.shards)
    others = sum(not shard.name.startswith("train-") for shard in manifest.shards)
    place = config.stream_from or str(workspace.shards)
    stream = StreamStore(
        place if "://" in place else workspace.root / expand_home(place),
        keep=2 * config.stream_shards + others,
        cache_bytes=cache_bytes,
    )
    if stream.manifest != manifest:
        raise CheckError(
            f"{stream.name} has another manifest than {workspace.shards}: it is another set, or"
            " another version of it."
        )
    return stream, StreamDraw(
        stream, read_training_list(voices), shards=config.stream_shards, num_samples=num_samples
    )


def _folder(workspace: Workspace, needed: str) -> Path:
    """Where something that a model builds on lies."""
    return workspace.lipcoder if needed == LIPCODER.name else workspace.run(needed)


STAGE = Stage(
    NAME,
    TrainConfig,
    plan,
    work,
    finish,
    per_model=True,
    resumes=True,
    purpose="teach {model} to extract a voice by its face",
)
