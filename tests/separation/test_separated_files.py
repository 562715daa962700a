"""Files in, files out: lengths, levels, sync, and that a failure leaves nothing behind."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.media import copy_picture
from avsep.media.decode import read_audio, read_frames
from avsep.media.probe import probe
from avsep.progress import hidden_progress
from avsep.separation import SeparateConfig, Separator, videos
from avsep.separation.folder import LISTING, default_output
from avsep.separation.live_files import separate_live
from tests.support.clip_maker import click_audio, click_time, make_clip
from tests.support.echo import Echo, FixedBackend, noise, still_pictures


def separator(model=None, **settings) -> Separator:
    return Separator(model or Echo(), SeparateConfig(**settings), FixedBackend())


def pcm(num_samples: int, channels: int = 1) -> np.ndarray:
    samples = (noise(num_samples, 0.1) * 32768).astype(np.int16)[:, None]
    return np.repeat(samples, channels, axis=1)


@pytest.fixture
def video(tmp_path) -> Path:
    return make_clip(
        tmp_path / "talk.mkv",
        pictures=still_pictures(40),
        audio=pcm(25_601),
        audio_codec="pcm_s16le",
    )


def test_all_files_are_there_and_listed(video):
    made = separator(residual=True).separate(video)
    folder = video.with_name("talk_output")
    assert made.folder == folder
    names = {path.name for path in folder.iterdir()}
    assert names == {"speaker1.wav", "speaker1.mp4", "overview.mp4", "residual.wav", "tracks.json"}
    tracks = json.loads((folder / "tracks.json").read_text("utf-8"))
    assert set(tracks["files"]) == names
    assert tracks["num_samples"] == 25_601
    frames = tracks["speakers"][0]["frames"]
    assert [row["frame"] for row in frames] == list(range(40))
    assert len(frames[0]["landmarks"]) == 68
    left, top, width, height = frames[5]["box"]
    assert left + width / 2 == pytest.approx(64, abs=1)
    assert top + height / 2 == pytest.approx(48, abs=1)
    assert width == height == pytest.approx(48 * 1.5, abs=1)
    xs, ys = np.array(frames[5]["landmarks"]).T
    assert (xs.min() + xs.max()) / 2 == pytest.approx(64, abs=1)
    assert ys.max() - ys.min() <= 49
    assert not list(video.parent.glob(".*"))


def test_the_sound_is_as_long_and_as_loud_as_the_input(video):
    made = separator().separate(video)
    voice, rate_hz = soundfile.read(made.speakers[0].voice, dtype="int16")
    assert rate_hz == 16_000
    assert np.array_equal(voice, pcm(25_601)[:, 0])


@pytest.mark.parametrize(("rate_hz", "channels"), [(48_000, 2), (44_100, 1), (8_000, 2)])
def test_other_rates_have_the_same_length_in_time(tmp_path, rate_hz, channels):
    audio = pcm(rate_hz * 2 + 7, channels)
    path = make_clip(
        tmp_path / "a.mkv",
        pictures=still_pictures(50),
        audio=audio,
        rate_hz=rate_hz,
        audio_codec="pcm_s16le",
    )
    made = separator(audio_only=True).separate(path)
    info = soundfile.info(made.speakers[0].voice)
    assert info.frames == round(len(audio) * 16_000 / rate_hz)


def test_voices_and_residual_add_up_to_the_mixture(video):
    made = separator(Echo(share=0.7), residual=True, audio_only=True).separate(video)
    voice, _ = soundfile.read(made.speakers[0].voice)
    rest, _ = soundfile.read(made.residual)
    assert np.abs(voice + rest - pcm(25_601)[:, 0] / 32768).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "delays",
    [{}, {"audio_delay_s": 0.3}, {"video_delay_s": 0.28}],
    ids=["together", "late sound", "late picture"],
)
@pytest.mark.parametrize("fps", [25, Fraction(30_000, 1001), 50])
def test_picture_and_sound_stay_together(tmp_path, delays, fps):
    flash = round(1.2 * fps)
    path = make_clip(
        tmp_path / "flash.mkv",
        pictures=still_pictures(round(2 * fps), flash, round(fps / 10)),
        fps=fps,
        audio=click_audio(2.0, 1.2, 16_000),
        audio_codec="pcm_s16le",
        **delays,
    )
    made = separator().separate(path)
    wanted = _lag(path)
    for name in ("overview.mp4", "speaker1.mp4"):
        assert _lag(made.folder / name) == pytest.approx(wanted, abs=0.04), name


@pytest.mark.parametrize("delay", ["audio_delay_s", "video_delay_s"])
@pytest.mark.slow
def test_copied_pictures_are_those_of_the_source_and_in_time(tmp_path, delay):
    path = make_clip(
        tmp_path / "flash.mkv",
        pictures=still_pictures(50, 30, 2),
        audio=click_audio(2.0, 1.2, 16_000),
        audio_codec="pcm_s16le",
        **{delay: 0.3},
    )
    made = separator(video="copy").separate(path)
    assert {p.name for p in made.folder.iterdir()} == {"speaker1.wav", "speaker1.mp4", LISTING}
    assert made.facts["notes"] == []
    assert _lag(made.speakers[0].video) == pytest.approx(_lag(path), abs=0.04)
    coded = []
    for file in (path, made.speakers[0].video):
        with av.open(str(file)) as container:
            coded.append([bytes(p) for p in container.demux(video=0) if p.size])
    assert coded[0] == coded[1]


def test_pictures_that_cannot_be_copied_are_drawn_and_it_is_said(tmp_path):
    path = make_clip(
        tmp_path / "old.avi",
        pictures=still_pictures(40),
        video_codec="mjpeg",
        video_options={},
        audio=pcm(25_600),
        audio_codec="pcm_s16le",
    )
    made = separator(video="copy").separate(path)
    assert (made.folder / "overview.mp4").exists()
    assert made.facts["notes"] == [
        "the pictures of old.avi cannot be copied, since MP4 players do not show mjpeg; the videos"
        " are encoded anew."
    ]


@pytest.mark.slow
def test_joined_files_are_separated_to_the_end_and_it_is_said(tmp_path):
    parts = [
        make_clip(
            tmp_path / f"{name}.mp4",
            pictures=still_pictures(40, flash),
            audio=click_audio(1.6, flash / 25, 16_000),
        )
        for name, flash in (("a", 10), ("b", 30))
    ]
    path = tmp_path / "joined.mp4"
    path.write_bytes(b"".join(p.read_bytes() for p in parts))
    made = separator(video="copy").separate(path)
    assert made.facts["num_samples"] == pytest.approx(51_200, abs=400)
    assert made.facts["notes"] == [
        "joined.mp4 was normalised with ffmpeg before it was decoded: it holds 2 files one after"
        " the other."
    ]
    info = probe(made.speakers[0].video)
    assert info.video_end_s == pytest.approx(3.2, abs=0.05)
    live = separate_live(separator(), path, tmp_path / "live", hidden_progress)
    assert live.notes == tuple(made.facts["notes"])
    assert soundfile.info(live.voices[0]).frames == pytest.approx(51_200, abs=400)


def _lag(path: Path) -> float:
    """How long after the flash the click is heard, in seconds of presentation time."""
    info = probe(path)
    count = round((max(info.video_end_s, info.audio_end_s)) * 100)
    light = []
    for step in range(4):  # a finer grid than 25 a second
        light.append([f.mean() for f in read_frames(path, step / 100, count // 4)])
    grid = np.array(light).T.ravel()
    flash_s = int(np.flatnonzero(grid > (grid.min() + grid.max()) / 2)[0]) / 100
    sound = read_audio(path, 0.0, round(info.audio_end_s * 16_000))
    return click_time(sound) - flash_s


@pytest.mark.slow
def test_an_earlier_separation_is_replaced_and_other_files_stay(video):
    folder = video.parent / "out"
    separator(residual=True).separate(video, folder)
    (folder / "notes.txt").write_text("mine")
    separator(audio_only=True).separate(video, folder)
    assert {p.name for p in folder.iterdir()} == {"speaker1.wav", "tracks.json", "notes.txt"}


@pytest.mark.parametrize("step", ["track faces", "separate", "write videos"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_nothing_is_left_when_it_is_interrupted(video, step, error):
    from contextlib import contextmanager

    @contextmanager
    def broken(title, total):
        def advance(_count):
            if title == step:
                raise error

        yield advance

    before = {path.name for path in video.parent.iterdir()}
    with pytest.raises(error):
        separator().separate(video, video.parent / "new" / "out", broken)
    assert {path.name for path in video.parent.iterdir()} == before


def test_a_full_disk_is_one_sentence(video, monkeypatch):
    import errno

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("avsep.separation.separator.write_voice", full)
    before = {path.name for path in video.parent.iterdir()}
    with pytest.raises(CheckError, match="full"):
        separator().separate(video)
    assert {path.name for path in video.parent.iterdir()} == before


def test_an_output_that_is_a_file_is_refused(video):
    with pytest.raises(UsageError, match="is a file"):
        separator().separate(video, video)


@pytest.mark.slow
def test_memory_holds_no_more_of_a_longer_video(tmp_path):
    """All that grows with a recording is a few bytes a frame."""
    import tracemalloc

    peaks = []
    for seconds in (12, 36):  # lips are encoded in stretches of 8 s
        path = make_clip(
            tmp_path / f"{seconds}.mkv",
            pictures=still_pictures(seconds * 25),
            audio=pcm(seconds * 16_000),
            audio_codec="aac",  # in small packets, as real files have them
        )
        tracemalloc.start()
        separator(audio_only=True, window_s=1.0, overlap_s=0.2).separate(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.15 * peaks[0]


def test_pictures_before_the_sound_are_kept_and_the_sound_is_not_padded(tmp_path):
    path = make_clip(
        tmp_path / "late.mkv",
        pictures=still_pictures(50),
        audio=pcm(16_000),
        audio_codec="pcm_s16le",
        audio_delay_s=0.8,
    )
    made = separator().separate(path)
    assert made.facts["num_frames"] == 50
    assert made.facts["start_s"] == pytest.approx(0, abs=0.01)
    assert soundfile.info(made.speakers[0].voice).frames == 16_000
    video = probe(made.folder / "overview.mp4")
    assert video.num_pictures == 50


@pytest.mark.parametrize(
    "name", [os.fsdecode(b"caf\xe9"), "a\u2028b", "x" * 250, "\u7d75" * 83, "CON"], ids=ascii
)
@pytest.mark.slow
def test_a_file_of_any_name_is_separated_into_a_folder_beside_it(video, name):
    video = video.rename(video.with_name(f"{name}.mkv"))
    made = separator(residual=True).separate(video)
    assert made.folder.parent == video.parent
    assert made.folder.name.startswith(name[:60])
    assert made.folder.name.endswith("_output")
    tracks = json.loads((made.folder / "tracks.json").read_text("utf-8"))
    assert tracks["source"] == video.name
    assert set(tracks["files"]) == {path.name for path in made.folder.iterdir()}
    assert separate_live(separator(), video, made.folder, hidden_progress).voices


def test_two_long_names_that_start_alike_have_two_folders(video):
    first, second = (video.with_name("x" * 250 + letter) for letter in "ab")
    assert default_output(first) != default_output(second)


@pytest.mark.slow
def test_recording_whose_stamps_start_again_is_separated_whole(tmp_path):
    parts = [
        make_clip(
            tmp_path / f"{number}.ts",
            pictures=still_pictures(50),
            audio=pcm(96_000),
            rate_hz=48_000,
        )
        for number in range(2)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    made = separator().separate(joined)
    assert made.facts["num_samples"] / 16_000 == pytest.approx(4.0, abs=0.3)
    assert probe(made.speakers[0].video).video_end_s == pytest.approx(4.0, abs=0.3)


def test_recording_of_which_only_a_part_can_be_read_is_refused(tmp_path):
    parts = [
        make_clip(tmp_path / f"{number}.flv", pictures=still_pictures(50), audio=pcm(32_000),
                  rate_hz=16_000)
        for number in range(2)
    ]  # fmt: skip
    joined = tmp_path / "joined.flv"
    first, second = (part.read_bytes() for part in parts)
    joined.write_bytes(
        first + second[:13] + bytes([165]) * len(second)
    )  # its header alone is whole
    with pytest.raises(CheckError, match="only the first"):
        separator().separate(joined)
    assert not (tmp_path / "joined_output").exists()


@pytest.mark.parametrize("left", [0, 150, 300])
def test_the_picture_says_that_a_face_is_not_in_view(left):
    drawn = {}
    for seen in (True, False):
        canvas = np.zeros((240, 320, 3), np.uint8)
        videos._frame(canvas, np.array([left, 100.0, 60.0]), 2, seen)
        drawn[seen] = np.flatnonzero(canvas[70:99].any(axis=(0, 2)))
    assert np.ptp(drawn[True]) < 30  # the number alone
    assert np.ptp(drawn[False]) > 80  # with the reason
    assert drawn[False].max() < 319  # all of it in the picture


@pytest.mark.parametrize("channels", [1, 2])
def test_silent_sound_is_refused(tmp_path, channels):
    path = make_clip(
        tmp_path / "a.mkv",
        pictures=still_pictures(50),
        audio=np.zeros((32_000, channels), np.int16),
    )
    with pytest.raises(CheckError, match="is silent"):
        separator().separate(path)
    with pytest.raises(CheckError, match="is silent"):
        separate_live(separator(), path, tmp_path / "live", hidden_progress)


def test_channels_in_opposite_phase_are_separated_and_it_is_said(tmp_path):
    audio = pcm(32_000)
    path = make_clip(
        tmp_path / "a.mkv",
        pictures=still_pictures(50),
        audio=np.concatenate([audio, -audio], axis=1),
        audio_codec="pcm_s16le",
    )
    made = separator().separate(path)
    assert "only channel 1" in made.facts["notes"][0]
    voice, _ = soundfile.read(made.speakers[0].voice, dtype="int16")
    assert np.abs(voice[6_400:25_600] - audio[6_400:25_600, 0]).max() <= 2


@pytest.mark.slow
def test_what_the_muxer_refuses_on_the_way_is_drawn_and_nothing_else_stays(video, monkeypatch):
    copied = copy_picture.copy_pictures

    def refuses(source, target, *rest):
        copied(source, target, *rest)
        raise ItemError(Reason.UNDECODABLE, "MP4 does not take them (Invalid argument)")

    monkeypatch.setattr(copy_picture, "copy_pictures", refuses)
    made = separator(video="copy").separate(video)
    assert any("MP4 does not take them" in note for note in made.facts["notes"])
    assert (made.folder / "overview.mp4").is_file()  # it was drawn
    assert len(list(read_frames(made.folder / "speaker1.mp4", 0.0, 40))) == 40

    recording = SimpleNamespace(path=video, timeline=SimpleNamespace(start_s=0.0))
    voice, target = pcm(25_601)[:, 0], video.parent / "copies"
    target.mkdir()
    speakers = [SimpleNamespace(number=number) for number in (1, 2)]
    monkeypatch.setattr(
        copy_picture, "copy_pictures",
        lambda path, to, *rest: (refuses if to.stem == "speaker2" else copied)(path, to, *rest),
    )  # fmt: skip
    why = videos.copy_videos(target, recording, speakers, [voice, voice], hidden_progress)
    assert why.startswith("MP4 does not take them")
    assert not list(target.iterdir())
