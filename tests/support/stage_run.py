"""A stage by its name, with the settings of `params.yaml` or others."""

from avsep.workspace import PARAMS
from pipeline.config import find_stage, load_config
from pipeline.execution import stage as execution


def run_stage(name, workspace, *, config=None, **options):
    """Run a stage here, as `avsep run` does."""
    if config is None:
        config = load_config(workspace.root / PARAMS, name)
    return execution.run_stage(find_stage(name), config, workspace, **options)
