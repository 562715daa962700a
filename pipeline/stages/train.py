"""Train one model: `dolphin`, `vovit-s1` or `vovit` (the enhancer on a trained `vovit-s1`).

The stage starts the training as a child process (`python -m pipeline.stages.train`), which may be
killed and started again: it goes on from its last checkpoint. The run lives in the stage's work
folder until it is published, since DVC removes a stage's outs before it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avsep.errors import UsageError
from avsep.files import read_json, settings_hash, sha256_file, sources_sha256
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.settings import as_values
from avsep.training.config import RunSettings
from avsep.training.recipes import DolphinRecipe, EnhancerRecipe, VoViTRecipe
from avsep.workspace import Workspace
from pipeline.execution.stage import Batch, Stage, StageReport
from pipeline.execution.training_child import publish, require, train_in_child

NAME = "train"
MODELS = ("dolphin", "vovit-s1", "vovit")
RECIPES = ("dolphin", "vovit_s1", "vovit")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunSettings):
    """How the separators are trained.

    Attributes:
        model: which one; set by the command line.
        val_mixtures: mixtures of the validation list that are listened to; 0 for all.
        dolphin: see `DolphinRecipe`.
        vovit_s1: see `VoViTRecipe`.
        vovit: see `EnhancerRecipe`.
    """

    model: str = ""
    val_mixtures: int = 0
    dolphin: DolphinRecipe = field(default_factory=DolphinRecipe)
    vovit_s1: VoViTRecipe = field(default_factory=VoViTRecipe)
    vovit: EnhancerRecipe = field(default_factory=EnhancerRecipe)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model and self.model not in MODELS:
            raise ValueError(f"model is {self.model!r}; it may be {', '.join(MODELS)}.")
        if self.val_mixtures < 0:
            raise ValueError(f"val_mixtures is {self.val_mixtures}; 0 takes the whole list.")

    @property
    def recipe(self) -> DolphinRecipe | VoViTRecipe | EnhancerRecipe:
        """The recipe of the chosen model."""
        return getattr(self, self.model.replace("-", "_"))


def plan(config: TrainConfig, workspace: Workspace) -> list[Batch]:
    """One batch with the model as its only item.

    Raises:
        UsageError: no model is named.
        CheckError: an input is missing.
    """
    if not config.model:
        raise UsageError(f"train needs a model: {', '.join(MODELS)}.")
    inputs = {
        workspace.shards / "manifest.json": "extract",
        workspace.mixtures / "train.json": "mix",
        workspace.mixtures / "val.jsonl": "mix",
    }
    if config.model == "dolphin":
        inputs[workspace.lipcoder / "card.json"] = "pretrain"
    if config.model == "vovit":
        inputs[workspace.run("vovit-s1") / "card.json"] = "train --model vovit-s1"
    settings = settings_hash(
        as_values(config.recipe),
        # Another model's recipe changes nothing here.
        {name: value for name, value in as_values(config).items() if name not in RECIPES},
        {path.name: sha256_file(path) for path in require(inputs)},
        sources_sha256(f"models/{config.model.partition('-')[0]}", "training", "loading"),
    )
    return [Batch(name=config.model, items=(config.model,), settings=settings)]


def work(
    config: TrainConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Train in a child process, or go on with a training that was interrupted."""
    outcome = train_in_child(workspace, NAME, batch, as_values(config), devices=config.devices)
    progress(1)
    return [outcome]


def finish(
    config: TrainConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the run: checkpoints, exported model with its card, logs, metrics."""
    counts = Counts.of(outcomes)
    facts: dict[str, str | int | float] = {"model": config.model}
    if counts.done:
        target = workspace.run(config.model)
        publish(workspace.work(NAME) / config.model, target)
        facts |= read_json(target / "metrics.json")
    return StageReport(stage=NAME, counts=counts, facts=facts)


def train_here(config: TrainConfig, workspace: Workspace, directory: Path) -> None:
    """Train in this process (one rank of possibly several).

    Raises:
        CheckError: an input is missing or damaged, or the training does not get on.
    """
    from avsep.mixing.recipes import read_recipes
    from avsep.mixing.training import read_training
    from avsep.schema import SAMPLES_PER_FRAME
    from avsep.shards.store import ShardStore
    from avsep.training.mixtures import Mixtures
    from avsep.training.trainer import set_up_process

    set_up_process(seed=config.seed, threads=config.threads)
    recipe = config.recipe
    val = read_recipes(workspace.mixtures / "val.jsonl")
    store = ShardStore(workspace.shards, cache_bytes=config.cache_mb << 20)
    data = Mixtures(
        store=store,
        draw=read_training(
            workspace.mixtures / "train.json",
            store.audio,
            num_samples=recipe.fit.num_frames * SAMPLES_PER_FRAME,
        ),
        val=val[: config.val_mixtures or None],
    )
    if isinstance(recipe, DolphinRecipe):
        from avsep.training.train_dolphin import train_dolphin

        train_dolphin(recipe, config, data, workspace.lipcoder, directory)
        return
    from avsep.training.train_vovit import train_vovit, train_vovit_s1

    if isinstance(recipe, VoViTRecipe):
        train_vovit_s1(recipe, config, data, directory)
    else:
        train_vovit(recipe, config, data, workspace.run("vovit-s1"), directory)


STAGE = Stage(NAME, TrainConfig, plan, work, finish, per_model=True)
