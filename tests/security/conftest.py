"""While a test of this folder runs, it and its children write nowhere but where tests may."""

import pytest

from tests.support.guards import children_in, writes_in


@pytest.fixture(autouse=True)
def _only_temporary_files(tmp_path, tmp_path_factory, monkeypatch):
    notes = tmp_path_factory.mktemp("notes") / "refused"
    with children_in(monkeypatch, notes, tmp_path), writes_in(tmp_path):
        yield
