"""The bench of extract measures real work and accounts for all of its time."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.bench.extract import STEPS, bench_extract, figures_path
from avsep.cli.app import app
from avsep.errors import ItemError, Reason
from avsep.files import read_json
from avsep.workspace import Workspace


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    from avsep.corpora.demo.corpus import DemoClip, talk
    from avsep.media.encode import write_mp4

    path = tmp_path_factory.mktemp("video") / "talk.mp4"
    prepared = talk(DemoClip(speaker=2, number=0), seed=1, num_frames=26)
    write_mp4(path, (picture for picture, _ in prepared.frames), prepared.audio)
    return path


@pytest.mark.slow
def test_shares_add_up_and_each_step_took_time(video):
    figures = bench_extract(video, repeats=1)
    assert (figures["frames"], figures["faces"], figures["width"]) == (26, 1, 224)
    shares = {name: value for name, value in figures.items() if name.endswith("_share")}
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[f"{step}_share"] > 0 for step in STEPS)
    assert shares["other_share"] < 0.2
    assert figures["frames_per_cpu_s"] > 5


def test_a_video_without_a_face_is_a_sentence(tmp_path):
    from avsep.media.encode import write_mp4

    path = tmp_path / "wall.mp4"
    write_mp4(path, np.full((30, 64, 64, 3), 90, np.uint8), np.ones(30 * 640, np.int16))
    with pytest.raises(ItemError) as raised:
        bench_extract(path, repeats=1)
    assert raised.value.reason is Reason.NO_FACE


def test_a_project_keeps_the_figures_for_its_plan(tmp_path, monkeypatch):
    figures = {"engine": "litert", "options": {}, "frames_per_cpu_s": 99.5}
    monkeypatch.setattr("avsep.bench.extract.bench_extract", lambda *_, **__: figures)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["bench", "extract"])
    assert result.exit_code == 0
    assert "frames_per_cpu_s         99.5" in result.output
    assert list(tmp_path.iterdir()) == [], "no project, no file"
    (tmp_path / "params.yaml").write_text("")
    assert CliRunner().invoke(app, ["bench", "extract"]).exit_code == 0
    assert read_json(figures_path(Workspace(tmp_path), "litert")) == figures


def test_an_unknown_engine_is_named():
    result = CliRunner().invoke(app, ["bench", "extract", "--engine", "onnx"])
    assert result.exit_code != 0
    assert "'litert', 'openvino', 'torch'" in str(result.exception)
