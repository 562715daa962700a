"""Fixtures of the evaluation tests."""

from __future__ import annotations

import pytest

from avsep.evaluation.items import EvaluationItem
from avsep.workspace import Workspace
from tests.support.evaluation_world import make_item, make_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """A project before `evaluate`."""
    return make_workspace(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def items() -> list[EvaluationItem]:
    return [make_item(number) for number in range(5)]
