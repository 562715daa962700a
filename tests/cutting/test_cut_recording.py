"""`avsep cut`: a recording of two drawn heads becomes clips of one of them each."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.corpora.speaker_list import read_speaker_list
from avsep.cutting import cut as cut_module
from avsep.errors import CheckError, UsageError
from avsep.files import read_json, write_json
from avsep.media.decode import read_frames
from avsep.media.encode import write_mp4
from avsep.media.probe import probe
from tests.support.turn_scene import CLIP_FRAMES, Turn, make_scene

SIZE = 160
LEFT, RIGHT, UNSEEN = 0, 5, 3


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Left speaks, right speaks, somebody outside; then both change places, and left speaks."""
    turns = [
        Turn(LEFT, 0, (0,)),
        Turn(RIGHT, CLIP_FRAMES + 5, (1,)),
        Turn(UNSEEN, 2 * CLIP_FRAMES + 10, (2,)),
        Turn(LEFT, 3 * CLIP_FRAMES + 15, (4,)),
    ]
    total = 4 * CLIP_FRAMES + 20
    scene = make_scene(turns, [LEFT, RIGHT], total, 2)
    heads = zip(scene.pictures(LEFT, 2, SIZE), scene.pictures(RIGHT, 2, SIZE), strict=True)
    change = turns[3].start + 20  # in the midst of a sentence
    frames = [np.concatenate(pair if n < change else pair[::-1], 1) for n, pair in enumerate(heads)]
    path = tmp_path_factory.mktemp("recordings") / "Talk (1).mp4"
    write_mp4(path, frames, scene.audio)
    return path


@pytest.mark.slow
def test_a_recording_becomes_clips_with_source_and_times(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips"
    command = ["cut", str(recording.parent), "--out", str(out), "--min-face-px", "32"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    spans = read_json(folder / "cuts.json")["spans"]
    clips = [span for span in spans if span["what"] == "clip"]
    assert {span["source"] for span in spans} == {str(recording)}
    # The third sentence comes from outside, and the fourth is cut by the change of places.
    change_s = (3 * CLIP_FRAMES + 35) / 25
    turns_s = [(0.0, 3.0), (CLIP_FRAMES / 25 + 0.2, 2 * CLIP_FRAMES / 25 + 0.2)]
    for clip, (start_s, end_s) in zip(clips[:2], turns_s, strict=True):
        assert start_s - 0.2 <= clip["start_s"] <= start_s + 0.7
        assert end_s - 0.7 <= clip["end_s"] <= end_s + 0.2
    assert clips[0]["face"] != clips[1]["face"]
    assert all(c["end_s"] <= change_s + 0.01 or c["start_s"] >= change_s - 0.01 for c in clips)
    assert all(c["end_s"] < 6.5 or c["start_s"] > 9 for c in clips)
    outside = sum(s["end_s"] - s["start_s"] for s in spans if s["what"] == "voice_off_screen")
    assert 1.5 < outside < 3.2
    for clip in clips:
        path = folder / clip["file"]
        info = probe(path)
        assert info.end_s - info.start_s == pytest.approx(clip["end_s"] - clip["start_s"], abs=0.05)
        assert max(info.width, info.height) <= SIZE
    first = next(iter(read_frames(folder / clips[0]["file"], 0, 1)))
    source = next(iter(read_frames(recording, 0, 1)))[:, :SIZE]
    assert first.shape[0] > SIZE / 2
    assert abs(float(first.mean()) - float(source.mean())) < 30

    rows = list(csv.DictReader((out / "speakers.csv").open(encoding="utf-8")))
    assert len(rows) == len(clips)
    listed = read_speaker_list(out, "speakers.csv", {".mp4"})
    assert {entry.group for entry in listed.values()} == {folder.name}
    assert all((out / file).is_file() for file in listed)

    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert CliRunner().invoke(app, command).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_what_cannot_be_cut_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.mp4").write_bytes(b"no video")
    mute = tmp_path / "mute.mp4"
    write_mp4(mute, [np.zeros((64, 64, 3), np.uint8)] * 60, None)
    result = CliRunner().invoke(app, ["cut", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "needs pictures and sound" in result.output
    assert "damaged.mp4" in result.output
    for words in (["nowhere"], [str(tmp_path / "out")], [str(mute), "--min-s", "0"]):
        result = CliRunner().invoke(app, ["cut", *words, "--out", str(tmp_path / "out")])
        assert isinstance(result.exception, SystemExit | UsageError), result.exception


def test_a_folder_keeps_earlier_recordings_and_its_clips_are_not_cut_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def cut(path: Path, out: Path, *_: object) -> cut_module.CutRecording:
        asked.append(path.name)
        span = {"what": "clip", "start_s": 0.0, "end_s": 2.0, "face": 0, "file": "c.mp4"}
        write_json(out / path.stem / "cuts.json", {"spans": [span]})
        (out / path.stem / "c.mp4").write_bytes(b"a clip")
        return cut_module.CutRecording(folder=out / path.stem, spans=[span])

    monkeypatch.setattr(cut_module, "cut_recording", cut)
    monkeypatch.chdir(tmp_path)
    for name in ("first.mp4", "second.mp4"):
        Path(name).write_bytes(b"a recording")
        # The source is an absolute path, the folder of the clips below it a relative one.
        result = CliRunner().invoke(app, ["cut", str(tmp_path), "--out", "clips"])
        assert result.exit_code == 0, result.output
        Path(name).unlink()
    assert asked == ["first.mp4", "second.mp4"]
    listed = read_speaker_list(tmp_path / "clips", "speakers.csv", {".mp4"})
    assert set(listed) == {"first/c.mp4", "second/c.mp4"}


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"spans": 1}', '{"spans": ["clip"]}', "{"])
def test_a_damaged_list_of_cuts_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "cuts.json").write_text(text)
    with pytest.raises(CheckError, match=r"cuts\.json"):
        cut_module.cut_recordings(tmp_path)
