"""`inspect_set`: pictures whose dots lie where the landmarks are, and a safe table."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from avsep.errors import CheckError
from avsep.shards.inspect import ZOOM, crop_points, inspect_set, mouth_picture, wave_picture


@pytest.mark.slow
def test_writes_sheets_and_a_page(tmp_path, make_set):
    make_set(tmp_path / "set", "plain", shards=(6, 5))
    paths = inspect_set(tmp_path / "set", tmp_path / "out", limit=9)
    assert [path.name for path in paths] == ["sheet-1.png", "sheet-2.png", "index.html"]
    one, two = (cv2.imread(str(path)) for path in paths[:2])
    assert one.shape[0] == 8 * two.shape[0]
    page = paths[2].read_text("utf-8")
    assert page.count("<tr>") == 10
    assert "11 samples in 2 shards" in page


def test_dots_lie_where_the_landmarks_are(make_sample):
    landmarks = make_sample().landmarks
    points = np.zeros((12, 68, 3), np.float16)
    points[:, 7] = (60, 90, 0)
    matrix = np.tile(np.array([[2, 0, 10], [0, 1, 5]], np.float32), (12, 1, 1))
    placed = replace(landmarks, points=points, to_mean_face=matrix)
    # 2 * 60 + 10 - 80 = 50 to the right, 90 + 5 - 80 = 15 down
    np.testing.assert_allclose(crop_points(placed, 3)[7], (50, 15))
    picture = mouth_picture(np.zeros((96, 96), np.uint8), placed, 3).astype(int)
    green = np.argwhere(picture[..., 1] > 100)
    np.testing.assert_allclose(green.mean(axis=0) / ZOOM, (15, 50), atol=1)


def test_text_cannot_become_html(tmp_path, make_set, monkeypatch):
    make_set(tmp_path / "set", "plain", shards=(1,))
    from avsep.shards.index import Index

    rows = Index._rows
    evil = "<script>alert(1)</script>"
    monkeypatch.setattr(
        Index, "_rows", lambda *args: (replace(row, text=evil) for row in rows(*args))
    )
    page = inspect_set(tmp_path / "set", tmp_path / "out")[-1].read_text("utf-8")
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_wave_fills_the_height_only_where_it_is_loud():
    sound = np.zeros(1000, np.int16)
    sound[500:] = np.tile([32767, -32768], 250)
    ink = (wave_picture(sound, 100)[..., 0] < 100).sum(axis=0)
    assert ink[:50].max() == 1
    assert ink[50:].min() == 64


def test_a_damaged_set_is_refused(tmp_path, make_set):
    make_set(tmp_path / "set", "plain", shards=(1,))
    (tmp_path / "set" / "train-000000.tar").unlink()
    with pytest.raises(CheckError, match="is missing"):
        inspect_set(tmp_path / "set", tmp_path / "out")


def test_an_empty_limit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be at least 1"):
        inspect_set(tmp_path, tmp_path, limit=0)
