"""The steps of a whole run: each stage in its order, once per model where it has models."""

from __future__ import annotations

from avsep.models.registry import MODELS
from pipeline.execution.stage import Stage
from pipeline.stages import STAGES


def steps() -> list[tuple[str, str]]:
    """The name of the stage and of the model of each step; no model where there is none."""
    return [
        (stage.name, model)
        for stage in STAGES.values()
        for model in (MODELS if stage.per_model else ("",))
    ]


def heading(stage: Stage, model: str = "") -> str:
    """Which step of how many it is, and what it does.

    For example `stage 5 of 12: pretrain - train Dolphin's lip encoder`.
    """
    every = steps()
    number = every.index((stage.name, model)) + 1
    purpose = stage.purpose.format(model=MODELS[model].title if model else "")
    return f"stage {number} of {len(every)}: {stage.name} - {purpose}"
