"""`avsep separate`: exit codes, one sentence for bad input, options."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avsep.cli import main
from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from tests.support.clip_maker import flash_pictures, make_clip, speech_like
from tests.support.echo import FixedBackend, still_pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A model folder where a project has it."""
    root = tmp_path_factory.mktemp("project")
    torch.manual_seed(0)
    model = Dolphin(DolphinConfig.demo())
    checkpoint.save(model, root / "data" / "runs" / "dolphin", {"family": "dolphin"})
    return root


@pytest.fixture
def avsep(monkeypatch, capsys, trained, tmp_path):
    """Run the command; gives the exit code, stdout and stderr."""
    monkeypatch.setenv("AVSEP_WEIGHTS", str(tmp_path / "no-weights"))

    def run(*arguments: str) -> tuple[int, str, str]:
        words = ["avsep", "separate", *map(str, arguments), "--root", str(trained)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def face(monkeypatch):
    monkeypatch.setattr("avsep.separation.separator.create", lambda _name: FixedBackend())


def talk(path: Path, **changes) -> Path:
    values = {"pictures": still_pictures(30), "audio": speech_like(1.2)}
    return make_clip(path, **(values | {"audio_codec": "pcm_s16le"} | changes))


def quad(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="quad")
        for picture in flash_pictures(25, 5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        samples = np.zeros((1, 4 * 16_000), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="quad")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(stream.encode(None))
    return path


def bad_inputs(folder: Path) -> dict[str, tuple[str, int]]:
    """What is given, and the exit code."""
    (folder / "folder").mkdir()
    (folder / "text.mp4").write_text("this is not a video")
    (folder / "empty.mp4").touch()
    whole = talk(folder / "whole.mp4", audio_codec="aac").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    make_clip(folder / "deaf.mkv", pictures=flash_pictures(30, 5))
    make_clip(folder / "blind.mkv", audio=speech_like(1.0), audio_codec="pcm_s16le")
    talk(folder / "faceless.mkv")
    quad(folder / "quad.mkv")
    return {
        "url": ("https://example.org/a.mp4", 2),
        "folder": (str(folder / "folder"), 2),
        "missing": (str(folder / "missing.mp4"), 2),
        "text": (str(folder / "text.mp4"), 1),
        "empty": (str(folder / "empty.mp4"), 1),
        "cut": (str(folder / "cut.mp4"), 1),
        "deaf": (str(folder / "deaf.mkv"), 1),
        "blind": (str(folder / "blind.mkv"), 1),
        "faceless": (str(folder / "faceless.mkv"), 1),
        "quad": (str(folder / "quad.mkv"), 1),
    }


@pytest.mark.parametrize(
    "kind",
    [
        *("url", "folder", "missing", "text", "empty", "cut", "deaf", "blind", "faceless", "quad"),
    ],
)
@pytest.mark.slow
def test_bad_input_is_one_sentence_and_leaves_nothing(avsep, tmp_path, kind):
    given, code = bad_inputs(tmp_path)[kind]
    before = sorted(path.name for path in tmp_path.iterdir())
    found, out, err = avsep(given, "-o", tmp_path / "out")
    lines = [line for line in err.splitlines() if "this model is small" not in line]
    assert found == code, err
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("avsep: ")
    assert lines[0].endswith(".")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.slow
def test_the_published_options_work(avsep, tmp_path, face):
    video = talk(tmp_path / "talk.mkv")
    code, out, err = avsep(
        *("--input", video, "--output", tmp_path / "out", "--speakers", "1"),
        *("--detect-every-n", "4", "--face-scale", "2.0", "--cuda-device", "-1"),
    )
    assert code == 0, err
    assert "1 speaker(s)" in out
    tracks = json.loads((tmp_path / "out" / "tracks.json").read_text("utf-8"))
    assert tracks["face_scale"] == 2.0
    assert tracks["speakers"][0]["frames"][0]["box"][2] == pytest.approx(96, abs=1)
    assert "this model is small" in err


@pytest.mark.slow
def test_a_file_of_settings_is_read_and_options_override_it(avsep, tmp_path, face):
    video = talk(tmp_path / "talk.mkv")
    (tmp_path / "mine.yaml").write_text("audio_only: true\nface_scale: 3.0\n")
    config = ("--config", tmp_path / "mine.yaml", "--face-scale", "1.0", "--json")
    code, out, err = avsep(video, "-o", tmp_path / "out", *config)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["face_scale"] == 1.0
    assert set(facts["files"]) == {"speaker1.wav", "tracks.json"}
    (tmp_path / "mine.yaml").write_text("nonsense: 1\n")
    code, _, err = avsep(video, "-o", tmp_path / "out", *config)
    assert code == 2
    assert "nonsense" in err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--window", "0.5", "--overlap", "1"), 2, "overlap"),
        (("--device", "abacus"), 2, "abacus"),
        (("--cuda-device", "7"), 2, "no GPU 7"),
        (("--model", "vovit"), 1, "make demo"),
        (("--checkpoint", "nowhere"), 2, "does not exist"),
        (("--weights", "nowhere"), 2, "avsep weights list"),
        (("--weights", "vovit"), 2, "avsep weights get vovit"),
        (("--speakers", "3"), 1, "3 speakers"),
        (("--precision", "fp16"), 2, "fp16"),
    ],
)
@pytest.mark.slow
def test_wrong_options_are_named(avsep, tmp_path, face, options, code, words):
    video = talk(tmp_path / "talk.mkv")
    found, _, err = avsep(video, "-o", tmp_path / "out", *options)
    assert (found, words in err) == (code, True), err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_name_that_is_not_utf8_is_printed(avsep, face, tmp_path):
    name = os.fsdecode(b"caf\xe9\n.mp4")
    make_clip(tmp_path / name, pictures=still_pictures(30), audio=speech_like(1.2))
    code, out, _ = avsep(f"./{name}", "--audio-only")
    assert code == 0
    assert "speaker1.wav" in out
    code, _, err = avsep(os.fsdecode(b"none\xff.mp4"))
    assert code == 2
    assert "does not exist" in err
