"""While a test of this folder runs, its process writes nowhere but where tests may."""

import pytest

from tests.support.guards import writes_in


@pytest.fixture(autouse=True)
def _only_temporary_files(tmp_path):
    with writes_in(tmp_path):
        yield
