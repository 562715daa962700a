"""What is evaluated, what decides the result, and where it lies while it is being made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avsep.errors import CheckError
from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.examples import spread
from avsep.files import settings_hash, sha256_file
from avsep.mixing.recipes import read_recipes
from avsep.models import checkpoint
from avsep.schema import MixtureRecipe
from avsep.settings import as_values
from avsep.workspace import Workspace

STAGE = "evaluate"
# They change how fast a row comes, or only what is made of the rows at the end.
_WITHOUT_EFFECT = ("workers", "timeout_s", "max_failed_share", "bootstrap_samples", "seed")


def listed_recipes(config: EvaluateConfig, workspace: Workspace) -> list[MixtureRecipe]:
    """The mixtures to evaluate, in the order of their list.

    Raises:
        CheckError: the list is missing, damaged or empty.
    """
    recipes = read_recipes(workspace.mixtures / f"{config.split}.jsonl")
    if not recipes:
        raise CheckError(f"{config.split}.jsonl holds no mixtures; run the stage mix.")
    return spread(recipes, config.max_mixtures or len(recipes))


def example_ids(config: EvaluateConfig, recipes: Sequence[MixtureRecipe]) -> list[str]:
    """The mixtures that are kept to hear."""
    return [recipe.mixture_id for recipe in spread(recipes, config.example_count)]


def common_settings(
    config: EvaluateConfig, workspace: Workspace, recipes: Sequence[MixtureRecipe]
) -> str:
    """A hash of everything that decides results, but for the mixtures of a batch.

    Raises:
        CheckError: the model or the shards are missing.
    """
    values = {k: v for k, v in as_values(config).items() if k not in _WITHOUT_EFFECT}
    card = checkpoint.read_card(workspace.run(config.model))
    manifest = workspace.shards / "manifest.json"
    if not manifest.is_file():
        raise CheckError(f"{manifest} is missing; run the stage extract.")
    return settings_hash(
        values,
        [card["sha256"], card["family"], card["config"]],
        sha256_file(manifest),
        example_ids(config, recipes),
    )


def item_name(config: EvaluateConfig, mixture_id: str) -> str:
    """The ledger's name of a mixture: models share the ledger's stage."""
    return f"{config.model}:{mixture_id}"


def work_directory(config: EvaluateConfig, workspace: Workspace) -> Path:
    """Resumable work on one model."""
    return workspace.work(STAGE) / config.model


def rows_path(config: EvaluateConfig, workspace: Workspace, batch: str) -> Path:
    """Where a batch leaves its rows."""
    return work_directory(config, workspace) / f"{batch}.parquet"


def untouched_path(config: EvaluateConfig, workspace: Workspace, batch: str) -> Path:
    """Where the scores of a batch's untouched mixtures are left for the other models."""
    number = batch.removeprefix(f"{config.model}-")
    return workspace.work(STAGE) / "untouched" / f"{number}.json"


def example_path(config: EvaluateConfig, workspace: Workspace, mixture_id: str) -> Path:
    """Where a mixture that is kept to hear is put."""
    return work_directory(config, workspace) / "examples" / mixture_id


def cost_path(config: EvaluateConfig, workspace: Workspace) -> Path:
    """Where the cost is put."""
    return work_directory(config, workspace) / "cost.json"


def device_of(config: EvaluateConfig) -> str:
    """`cpu` or `cuda`."""
    if config.device != "auto":
        return config.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
