"""Many recordings: one loaded model, what is done stays done, one that fails harms no other."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from avsep.errors import UsageError
from avsep.progress import hidden_progress
from avsep.separation import SeparateConfig, Separator
from avsep.separation.batch import check_all, find_items, separate_batch
from tests.separation.test_separate_command import avsep, face, talk, trained  # noqa: F401
from tests.support.echo import Echo, FixedBackend


@pytest.fixture
def folder(tmp_path, face) -> Path:  # noqa: F811
    place = tmp_path / "videos"
    (place / "more").mkdir(parents=True)
    talk(place / "a.mkv")
    talk(place / "more" / "a.mkv")
    talk(place / "a.mov")
    (place / "broken.mp4").write_text("no video")
    (place / "notes.txt").write_text("mine")
    return place


def batch(items, model=None, **settings):
    jobs = settings.pop("jobs", 1)
    separator = Separator(model or Echo(), SeparateConfig(audio_only=True, **settings))
    found = list(separate_batch(separator, items, hidden_progress, jobs=jobs))
    return {str(result.video.relative_to(items[0].video.parents[0])): result for result in found}


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.slow
def test_a_folder_is_separated_and_only_once(folder, tmp_path, jobs):
    items = find_items([folder], tmp_path / "out")
    assert len({item.output for item in items}) == 4
    first = batch(items, jobs=jobs)
    assert {name: one.state for name, one in first.items()} == {
        "a.mkv": "done", "a.mov": "done", "more/a.mkv": "done", "broken.mp4": "failed"
    }  # fmt: skip
    assert "broken.mp4 is not a media file" in first["broken.mp4"].message
    assert first["a.mkv"].speakers == 1
    assert first["a.mkv"].seconds == pytest.approx(1.2)
    model = Echo()
    again = batch(items, model, jobs=jobs)
    assert [one.state for name, one in again.items() if name != "broken.mp4"] == ["done before"] * 3
    assert model.shown == []
    (first["a.mkv"].output / "speaker1.wav").unlink()  # half of it went
    assert batch(items)["a.mkv"].state == "done"
    assert batch(items, keep_still=True)["a.mkv"].state == "done"  # other settings
    with pytest.raises(Exception, match="1 of 4"):
        check_all(list(again.values()))


@pytest.mark.slow
def test_results_beside_the_videos_are_no_sources_of_the_next_run(folder):
    items = find_items([folder], None)
    separator = Separator(Echo(), SeparateConfig())
    list(separate_batch(separator, items, hidden_progress))
    assert [i.video for i in find_items([folder], None)] == [i.video for i in items]


@pytest.mark.slow
def test_an_interrupt_leaves_what_is_done_and_nothing_half(folder, tmp_path):
    items = find_items([folder / "a.mkv", folder / "a.mov"], tmp_path / "out")
    results = separate_batch(Separator(Echo(), SeparateConfig()), items, hidden_progress)
    assert next(results).state == "done"
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert not list((tmp_path / "out").glob(".*"))
    states = [one.state for one in separate_batch(
        Separator(Echo(), SeparateConfig()), items, hidden_progress
    )]  # fmt: skip
    assert "done before" in states


@pytest.mark.slow
def test_the_bar_reaches_the_number_of_recordings(folder):
    from contextlib import contextmanager

    moves = []

    @contextmanager
    def bar(title, total):
        moves.append((title, total))
        yield moves.append

    items = find_items([folder], None)
    list(separate_batch(Separator(Echo(), SeparateConfig()), items, bar))
    assert moves[0] == ("separate", 4)
    assert sum(moves[1:]) == pytest.approx(4)
    assert min(moves[1:]) >= 0
    assert len(moves) > 50


def test_a_folder_without_videos_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="holds no video"):
        find_items([tmp_path], None)


@pytest.mark.slow
def test_the_command_prints_a_table_and_ends_with_1_if_one_failed(avsep, folder):  # noqa: F811
    code, out, err = avsep(folder, "--audio-only", "--jobs", "2")
    assert code == 1
    assert "1 of 4 recording(s) failed" in err
    assert "a.mkv" in out
    assert "failed" in out
    code, out, _ = avsep(folder / "a.mkv", folder / "a.mov", "--audio-only", "--json")
    assert code == 0
    assert [one["state"] for one in json.loads(out)] == ["done before", "done before"]
    assert avsep(folder, "--stream")[0] == 2


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory.\nTried to"),
        av.error.InvalidDataError(1, "Invalid"),
        OSError(5, "I/O"),
    ],
)
def test_whatever_ends_one_recording_does_not_end_the_others(folder, tmp_path, monkeypatch, error):
    items = find_items([folder / name for name in ("a.mkv", "a.mov")], tmp_path / "out")
    whole = Separator._separate_recording

    def separate_recording(self, recording, *args):
        if recording.name == "a.mkv":
            raise error
        return whole(self, recording, *args)

    monkeypatch.setattr(Separator, "_separate_recording", separate_recording)
    found = batch(items)
    assert {name: one.state for name, one in found.items()} == {"a.mkv": "failed", "a.mov": "done"}
    starts = ("a.mkv: something went wrong (", "a.mkv: the disk fails")
    assert found["a.mkv"].message.startswith(starts)
    assert "\n" not in found["a.mkv"].message


def test_a_file_that_is_named_twice_is_one_recording(folder, tmp_path, monkeypatch):
    (folder / "link.mkv").symlink_to(folder / "a.mkv")
    (folder / "loop.mkv").symlink_to(folder / "loop.mkv")
    (tmp_path / "linked").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names = [folder / "a.mkv", folder, "videos/a.mkv", "linked/a.mov", "linked"]
    items = find_items(names, tmp_path / "out")
    assert len(items) == 5
    assert [item.video.name for item in items].count("a.mkv") == 2  # one of them in `more`
    assert len({item.output for item in items}) == 5
    short = find_items(["videos/a.mkv", "videos/a.mov"], None)
    assert [i.output.name for i in short] == [
        i.output.name for i in find_items([folder / "a.mkv", folder / "a.mov"], None)
    ]


def test_results_of_an_earlier_version_or_another_face_backend_are_not_done(
    folder, tmp_path, monkeypatch
):
    items = find_items([folder / "a.mkv"], tmp_path / "out")
    config = SeparateConfig(audio_only=True)

    def state(backend=None):
        made = separate_batch(Separator(Echo(), config, backend), items, hidden_progress)
        return next(iter(made)).state

    assert [state(), state()] == ["done", "done before"]
    assert [state(FixedBackend()), state(FixedBackend())] == ["done", "done before"]
    monkeypatch.setattr("avsep.separation.separator.RESULTS_VERSION", 0)
    assert state(FixedBackend()) == "done"


def test_a_backend_of_ones_own_is_used_by_one_job_and_refused_by_several(folder, tmp_path):
    items = find_items([folder / "a.mkv", folder / "a.mov"], tmp_path / "out")
    backend = FixedBackend()
    separator = Separator(Echo(), SeparateConfig(audio_only=True), backend)
    with pytest.raises(UsageError, match="one job"):
        list(separate_batch(separator, items, hidden_progress, jobs=2))
    assert [one.state for one in separate_batch(separator, items, hidden_progress)] == ["done"] * 2
    assert backend._calls > 0
