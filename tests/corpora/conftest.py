"""Miniature copies whose clips are not videos."""

import pytest

from tests.support import miniature
from tests.support.miniature import fake_clip


@pytest.fixture
def tree(tmp_path):
    miniature.vox2_tree(tmp_path / "copy", fake_clip)
    return tmp_path / "copy"


@pytest.fixture
def archives(tmp_path):
    miniature.vox2_archives(tmp_path / "archives", tmp_path / "scratch", fake_clip)
    return tmp_path / "archives"
