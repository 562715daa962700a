"""Fixtures of the report tests."""

from __future__ import annotations

import pytest

from avsep.workspace import Workspace
from tests.support.report_world import (
    LEVELS,
    make_data,
    make_evaluation,
    make_pretraining,
    make_run,
)


@pytest.fixture(scope="session")
def full_workspace(tmp_path_factory) -> Workspace:
    """Everything there is to report."""
    workspace = Workspace(tmp_path_factory.mktemp("full"))
    for model in LEVELS:
        make_evaluation(workspace, model)
        make_run(workspace, model)
    make_pretraining(workspace)
    make_data(workspace)
    return workspace
