"""The long tests of this folder run with `make test-faults`, the others with all tests."""

import os

import pytest

from tests.support.guards import writes_in

LONG = ["test_kill_matrix.py"]
collect_ignore = [] if os.environ.get("AVSEP_FAULTS") else LONG


@pytest.fixture(autouse=True)
def _only_temporary_files(tmp_path):
    with writes_in(tmp_path):
        yield
