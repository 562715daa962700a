"""Recorded mixtures: found, cut to where all faces are seen, asked face by face, scored."""

import hashlib
import json
import os
import pickle
import shutil
import wave
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from avsep.cli.app import app
from avsep.corpora.demo import corpus as demo
from avsep.corpora.demo.corpus import DemoClip
from avsep.errors import CheckError, ItemError, UsageError
from avsep.evaluation import quality
from avsep.evaluation.config import QualityName
from avsep.evaluation.recordings import (
    Recording,
    find_recordings,
    prepare,
    score_recording,
    score_recordings,
    summarise_recordings,
)
from avsep.media.encode import write_mp4
from avsep.models import checkpoint
from pipeline.execution.ledger import Ledger
from pipeline.stages import evaluate
from pipeline.stages.evaluate import EvaluateConfig
from pipeline.stages.report import PAGE, ReportConfig
from tests.support.band_separator import load_for_stage
from tests.support.evaluation_world import make_workspace
from tests.support.face_scene import FACE
from tests.support.stage_run import run_stage

FRAMES = 50


def write_wav(path, samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.asarray(samples, np.int16).tobytes())


@pytest.fixture(scope="module")
def talks():
    return [
        demo.talk(DemoClip(speaker=s, number=1), seed=0, size=160, num_frames=FRAMES)
        for s in (0, 3)
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, talks):
    """Two recordings: `remix/1` with references and landmarks of one face, `mix/2` without."""
    root = tmp_path_factory.mktemp("recordings")
    sounds = [np.asarray(talk.audio, np.int32) for talk in talks]
    for name in ("remix/1", "mix/2"):
        folder = root / "real" / "dev" / name
        folder.mkdir(parents=True)
        write_wav(folder / "mix.wav", sum(sounds) // 2)
    first, second = root / "real/dev/remix/1", root / "real/dev/mix/2"
    for number, talk in enumerate(talks, 1):
        write_mp4(first / f"s{number}.mp4", (picture for picture, _ in talk.frames), talk.audio)
        shutil.copy(first / f"s{number}.mp4", second)
        write_wav(first / f"s{number}.wav", sounds[number - 1] // 2)
    return root


def add_broken(root):
    broken = root / "broken"
    broken.mkdir()
    write_wav(broken / "mix.wav", np.zeros(16_000))
    (broken / "s1.mp4").write_bytes(b"not a video")


class Oracle:
    """Gives the reference of the face that it sees, or one voice for all."""

    def __init__(self, ready, same=False):
        self.ready, self.same = ready, same

    def estimate(self, mixture, cues):
        import torch

        lips = cues.lips[0].cpu().numpy()
        names = list(self.ready.references)
        seen = next(v for v in names if np.array_equal(lips, self.ready.cues[v].lips))
        return torch.from_numpy(self.ready.references[names[0] if self.same else seen])[None]


@pytest.fixture(scope="module")
def ready(recorded):
    return prepare(find_recordings(recorded)[1])


def means(rows):
    return {name: f["mean"] for name, f in summarise_recordings(rows)["figures"].items()}


pytestmark = pytest.mark.slow


def test_recordings_are_found_by_their_sound(recorded):
    found = find_recordings(recorded)
    assert [one.name for one in found] == ["real/dev/mix/2", "real/dev/remix/1"]
    assert found[0].voices == ("s1", "s2")


def test_sound_references_and_faces_are_in_step(ready):
    assert len(ready.mixture) == 640 * len(ready.cues["s1"].lips)
    assert np.allclose(ready.mixture, sum(ready.references.values()), atol=2e-4)
    assert not np.array_equal(ready.cues["s1"].lips, ready.cues["s2"].lips)


def test_with_references_a_recording_is_scored_as_any_mixture(recorded, ready):
    good = score_recording(Oracle(ready), "remix/1", ready)
    assert all(row["si_snri"] > 20 and row["stoi"] > 0.99 for row in good)
    assert means(good)["both_right"] == 1.0
    assert means(good)["worse"] == 0.0
    same = score_recording(Oracle(ready, same=True), "remix/1", ready)
    found = means(same)
    assert found["both_right"] == 0.0
    assert found["overlap"] == pytest.approx(1)
    assert found["worse"] == 0.5


def test_without_references_only_what_needs_none_is_scored(recorded, ready):
    recording = find_recordings(recorded)[0]
    rows = score_recording(Oracle(ready), recording.name, prepare(recording))
    assert [set(row) for row in rows] == [{"recording", "voice", "seconds", "overlap"}] * 2
    assert summarise_recordings(rows)["with_reference"] == 0
    assert set(means(rows)) == {"overlap"}


def test_shares_count_what_has_references_and_a_silent_estimate_as_worse():
    def voice(recording, **scores):
        return {"recording": recording, "voice": "", **scores}

    good = {"si_snr_mixture": 0.0, "si_snri": 9.0, "margin_db": 20.0}
    two_of_three = [voice("a", **good), voice("a", **good), voice("a", overlap=0.1)]
    assert "both_right" not in means(two_of_three)
    one_silent = [voice("b", **good), voice("b", si_snr_mixture=0.0)]
    found = means([*two_of_three, *one_silent])
    assert found["both_right"] == 0.0
    assert found["worse"] == 0.25


def test_intervals_are_resampled_by_recording():
    """Voices of one recording are alike, so they count as one piece of evidence."""
    rows = [
        {"recording": f"{n}", "voice": f"s{v}", "overlap": float(n % 2)}
        for n in range(8)
        for v in range(4)
    ]
    figure = summarise_recordings(rows)["figures"]["overlap"]
    assert (figure["mean"], figure["rows"], figure["utterances"]) == (0.5, 32, 8)
    # Half of eight coins: a standard error of 0.18, not of 0.09 as for 32.
    assert 0.5 < figure["high"] - figure["low"] < 0.9
    assert "low" not in summarise_recordings(rows[:4])["figures"]["overlap"]


def test_landmarks_beside_a_video_take_the_place_of_the_detector(recorded, ready, tmp_path):
    """Those of the challenge: a pickled list of (68, 2) arrays, one per frame."""
    folder = tmp_path / "set" / "1"
    shutil.copytree(recorded / "real/dev/remix/1", folder)
    points = np.tile(FACE[:, :2], (FRAMES, 1, 1)) * 60 + 80
    points[:, 57, 1] += np.linspace(0, 6, FRAMES)  # the lower lip sinks, whatever is said
    (folder / "s1.pkl").write_bytes(pickle.dumps(list(points.astype(np.float64))))
    [recording] = find_recordings(tmp_path / "set")
    found = prepare(recording)
    assert not np.array_equal(found.cues["s1"].landmarks, ready.cues["s1"].landmarks)
    assert not found.cues["s1"].landmarks[..., 2].any()  # a file of points has no depth
    assert np.array_equal(found.cues["s2"].landmarks, ready.cues["s2"].landmarks)
    opening = [
        cues.landmarks[:, 57, 1] - cues.landmarks[:, 33, 1]
        for cues in (found.cues["s1"], ready.cues["s1"])
    ]
    assert (np.diff(opening[0]) > 0).mean() > 0.9
    assert (np.diff(opening[1]) > 0).mean() < 0.8
    (folder / "s1.pkl").write_bytes(pickle.dumps(list(points[:30])))
    with pytest.raises(ItemError, match="30 frames"):
        prepare(recording)


def test_landmarks_of_a_recording_are_read_without_running_them(recorded, tmp_path):
    folder = tmp_path / "set" / "1"
    shutil.copytree(recorded / "real/dev/remix/1", folder)
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return (marker.write_text, ("x",))

    (folder / "s1.pkl").write_bytes(pickle.dumps(Hostile()))
    [recording] = find_recordings(tmp_path / "set")
    with pytest.raises(ItemError):
        prepare(recording)
    assert not marker.exists()


def test_the_command_writes_scores_and_names_what_failed(
    recorded, ready, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "set"
    shutil.copytree(recorded, root)
    add_broken(root)
    monkeypatch.setattr(checkpoint, "load", lambda _path, _device: Oracle(ready))
    card = {"family": "dolphin", "config": {}}
    monkeypatch.setattr(checkpoint, "read_card", lambda _path: card)
    monkeypatch.setattr(
        "avsep.separation.resolve_model.resolve_model",
        lambda *_: type("Found", (), {"path": tmp_path})(),
    )
    arguments = ["recordings", str(root), "--out", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(CheckError, match="1 of 3 recordings could not be scored"):
        app(arguments, standalone_mode=False)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["recordings"] == 2
    assert metrics["failed"] == [{"recording": "broken", "reason": "undecodable"}]
    lines = (tmp_path / "out" / "scores.jsonl").read_text().splitlines()
    assert len(lines) == 4
    full = json.loads((tmp_path / "out" / "metrics_full.json").read_text())
    assert full["model"] == metrics["model"] == "dolphin"
    for name, figure in full["figures"].items():
        assert metrics[name] == pytest.approx(figure["mean"], abs=1e-4)
    assert "both_right" in capsys.readouterr().out


def test_the_stage_scores_recordings_beside_its_mixtures(recorded, tmp_path, monkeypatch):
    here = make_workspace(tmp_path)
    root = tmp_path / "challenge"
    shutil.copytree(recorded, root)
    add_broken(root)
    monkeypatch.setattr(checkpoint, "load", load_for_stage)
    evaluate._load_model.cache_clear()
    config = EvaluateConfig(
        model="vovit", perceptual=(), sdr=False, max_mixtures=1, bootstrap_samples=100,
        example_count=0, workers=0, cost=False, recordings="challenge",
    )  # fmt: skip
    report = run_stage("evaluate", here, config=config)
    assert report.counts.done == 1 + 2
    assert report.counts.dropped == {"undecodable": 1}
    folder = here.evaluation("vovit") / "recordings" / "challenge"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["recordings"], metrics["voices"], metrics["with_reference"]) == (2, 4, 2)
    assert metrics["failed"] == [{"recording": "broken", "reason": "undecodable"}]
    assert "si_snri" in metrics
    before = (folder / "scores.jsonl").read_bytes()

    run_stage("report", here, config=ReportConfig(models=("vovit",)))
    assert "challenge: 2 recordings, 4 voices" in (here.report / PAGE).read_text("utf-8")

    scored = []
    original = score_recordings

    def noted(model, some, **rest):
        scored.extend(recording.name for recording in some)
        return original(model, some, **rest)

    monkeypatch.setattr("avsep.evaluation.recordings.score_recordings", noted)
    run_stage("evaluate", here, config=replace(config, mixtures_per_batch=2))
    scored.clear()
    run_stage("evaluate", here, config=replace(config, mixtures_per_batch=2))
    assert scored == []
    # As long as before: its name, size and time may be the same.
    mix = root / "real/dev/remix/1/mix.wav"
    status = mix.stat()
    write_wav(mix, np.zeros((status.st_size - 44) // 2))
    os.utime(mix, ns=(status.st_atime_ns, status.st_mtime_ns))
    run_stage("evaluate", here, config=replace(config, mixtures_per_batch=2))
    assert scored == ["real/dev/remix/1"]
    assert (folder / "scores.jsonl").read_bytes() != before
    not_done = list(Ledger(here.ledger).each_outcome("evaluate", done=False))
    assert [one.item for one in not_done] == ["vovit:recording broken"]

    run_stage("evaluate", here, config=replace(config, recordings=""))
    assert not folder.parent.exists()
    assert not list(Ledger(here.ledger).each_outcome("evaluate", done=False))


def test_names_that_look_alike_are_items_of_their_own(tmp_path):
    config = EvaluateConfig(model="vovit")
    names = ["", "1", "1 ", "a b", "a\nb", "caf\udce9"]
    found = [Recording(name=name, folder=tmp_path, voices=("s1",)) for name in names]
    items = [evaluate._recording_item(config, one) for one in found]
    assert len(set(items)) == len(names)
    assert items[:2] == ["vovit:recording .", "vovit:recording 1"]
    assert all(item.isprintable() for item in items)


def test_a_link_that_leads_nowhere_is_a_file_that_is_not_there(tmp_path):
    (tmp_path / "mix.wav").write_bytes(b"x")
    recording = Recording(name="", folder=tmp_path, voices=("s1",))
    before = recording.state()
    (tmp_path / "s1.wav").symlink_to(tmp_path / "nowhere.wav")
    assert recording.state() == before


def test_a_measure_that_refuses_a_sound_is_a_problem_of_the_row(ready, monkeypatch):
    def refuse(sound):
        raise RuntimeError("Maximum number of mel spectrogram windows exceeded")

    monkeypatch.setitem(quality._MEASURES, "nisqa", refuse)
    rows = score_recording(Oracle(ready), "remix/1", ready, quality=["nisqa"])
    assert [row["problems"]["nisqa"] for row in rows] == ["crashed"] * 2
    assert all(row["si_snri"] > 20 for row in rows)


def test_the_settings_name_all_measures():
    assert get_args(QualityName) == quality.MEASURES


def test_measures_without_recordings_are_refused():
    with pytest.raises(ValueError, match="set recordings too"):
        EvaluateConfig(quality=("nisqa",))


def test_what_is_no_set_of_recordings_is_said(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        find_recordings(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="has no folders with"):
        find_recordings(tmp_path)
    write_wav(tmp_path / "mix.wav", np.zeros(100))
    with pytest.raises(UsageError, match=r"no video s1\.mp4"):
        find_recordings(tmp_path)


def test_model_files_of_quality_must_be_there_and_stay_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"nisqa needs the package.*avsep\[quality\]"):
        quality.check_measures(["nisqa"], tmp_path)
    monkeypatch.setattr(quality, "find_spec", lambda _name: object())
    with pytest.raises(UsageError, match=r"needs the model file .*nisqa\.tar"):
        quality.check_measures(["nisqa"], tmp_path)
    (tmp_path / "NISQA").mkdir()
    (tmp_path / "NISQA" / "nisqa.tar").write_bytes(b"first")
    quality.check_measures(["nisqa"], tmp_path)
    (tmp_path / "NISQA" / "nisqa.tar").write_bytes(b"other")
    with pytest.raises(CheckError, match="has the sha256"):
        quality.check_measures(["nisqa"], tmp_path)
    with pytest.raises(UsageError, match="no measure 'mos'"):
        quality.check_measures(["mos"], tmp_path)


def test_model_files_with_a_known_hash_must_have_it_at_their_first_use(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "find_spec", lambda _name: object())
    for name in quality.FILES["dnsmos"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    with pytest.raises(CheckError, match=r"model_v8\.onnx has the sha256 .*not 9246480c"):
        quality.check_measures(["dnsmos"], tmp_path)
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in quality.FILES["dnsmos"]}
    monkeypatch.setattr(quality, "FILES", {"dnsmos": hashes})
    quality.check_measures(["dnsmos"], tmp_path)
    assert not (tmp_path / quality.PINS).exists()
