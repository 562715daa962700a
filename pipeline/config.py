"""`params.yaml`: one section per stage, each built into the frozen dataclass of its stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from avsep.errors import UsageError
from avsep.models.registry import MODELS
from avsep.settings import build, read_settings
from pipeline.execution.stage import Stage
from pipeline.stages import STAGES


def find_stage(name: str) -> Stage:
    """The stage of a name.

    Raises:
        UsageError: there is no such stage.
    """
    if name not in STAGES:
        raise UsageError(f"there is no stage {name!r}; the stages are {', '.join(STAGES)}.")
    return STAGES[name]


def read_params(path: Path) -> dict[str, Any]:
    """Read `params.yaml` as plain values.

    Raises:
        UsageError: it is missing, unreadable or not YAML, or has a section that no stage has.
    """
    if not path.exists():
        raise UsageError(f"{path} is missing; `avsep init` makes a project that has one.")
    values = read_settings(path, "one section per stage")
    if unknown := sorted(str(key) for key in values if key not in STAGES):
        raise UsageError(
            f"{path} has the unknown section(s) {', '.join(unknown)};"
            f" the sections are {', '.join(STAGES)}."
        )
    return values


def load_configs(path: Path) -> dict[str, Any]:
    """The configs of all stages by name; a missing section means all defaults.

    Raises:
        UsageError: the file or a section is wrong; the sentence names the key and the value.
    """
    values = read_params(path)
    return {
        name: build(stage.config, values.get(name) or {}, name) for name, stage in STAGES.items()
    }


def load_config(path: Path, stage: str) -> Any:
    """The config of one stage.

    Raises:
        UsageError: there is no such stage, or the file or the section is wrong.
    """
    found = find_stage(stage)
    return build(found.config, read_params(path).get(stage) or {}, stage)


def for_model(stage: Stage, config: Any, model: str) -> Any:
    """The config of a stage for the model that the command line names; empty for none.

    Raises:
        UsageError: the stage needs a model, there is no such model, or the stage takes none.
    """
    if not stage.per_model:
        if model:
            raise UsageError(f"the stage {stage.name} takes no --model.")
        return config
    names = ", ".join(MODELS)
    if not model:
        raise UsageError(f"{stage.name} needs a model; name one with --model: {names}.")
    if model not in MODELS:
        raise UsageError(f"--model is {model!r}; it may be {names}.")
    return replace(config, model=model)
