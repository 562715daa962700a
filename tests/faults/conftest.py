"""The long tests of this folder run with `make test-faults`, the others with all tests."""

import os

import pytest

from tests.support.guards import writes_in
from tests.support.prefect_api import prefect_server
from tests.support.tiny_project import Unbroken

LONG = [
    "test_kill_matrix.py",
    "test_kill_flows.py",
    "test_stages_on_bad_disks.py",
    "test_stages_on_bad_machines.py",
]
collect_ignore = [] if os.environ.get("AVSEP_FAULTS") else LONG


@pytest.fixture(autouse=True)
def _only_temporary_files(tmp_path):
    with writes_in(tmp_path):
        yield


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """What every stage makes of the tiny project when nothing happens."""
    return Unbroken(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A Prefect server for all flows, since starting one takes 15 s."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as access:
        yield access
