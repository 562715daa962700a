import math
import subprocess
import sys

import imageio_ffmpeg
import pytest

from avsep.errors import ItemError, Reason, UsageError
from avsep.files import sha256_file
from avsep.media import ffmpeg
from avsep.media.decode import read_audio, read_frames
from avsep.media.probe import probe
from tests.support.clip_maker import click_audio, click_time, flash_pictures, make_clip


@pytest.fixture
def clip(tmp_path):
    return make_clip(
        tmp_path / "a.mp4", pictures=flash_pictures(50, 25), audio=click_audio(2.0, 1.0, 16_000)
    )


@pytest.mark.parametrize("start_s", [0.0, 0.4, 0.5, 0.73])
def test_cut_starts_where_it_says(tmp_path, clip, start_s):
    ffmpeg.cut(clip, tmp_path / "cut.mp4", start_s, 1.8)
    audio = read_audio(tmp_path / "cut.mp4", 0.0, 20_000)
    frames = list(read_frames(tmp_path / "cut.mp4", -start_s, 45))
    assert click_time(audio) == pytest.approx(1.0 - start_s, abs=0.0015)
    assert [index for index, frame in enumerate(frames) if frame.mean() > 150] == [25]
    # The first picture of the span keeps its time, also between two pictures at 25 per second.
    first_s = math.ceil(start_s * 25 - 1e-9) / 25 - start_s
    assert probe(tmp_path / "cut.mp4").video_start_s == pytest.approx(first_s, abs=0.002)
    assert probe(tmp_path / "cut.mp4").end_s == pytest.approx(1.8 - start_s, abs=0.05)


def test_cut_gives_the_same_bytes_again(tmp_path, clip):
    for name in ("one.mp4", "two.mp4"):
        ffmpeg.cut(clip, tmp_path / name, 0.5, 1.5)
    assert sha256_file(tmp_path / "one.mp4") == sha256_file(tmp_path / "two.mp4")


def test_empty_span_is_refused(tmp_path, clip):
    with pytest.raises(ValueError, match="span"):
        ffmpeg.cut(clip, tmp_path / "cut.mp4", 1.0, 1.0)


def test_repair_copies_a_cut_file_and_encodes_a_damaged_one(tmp_path, clip):
    whole = make_clip(
        tmp_path / "whole.mp4",
        pictures=flash_pictures(50, 25),
        video_options={"g": "5"},
        audio=click_audio(2.0, 1.0, 16_000),
        container_options={"movflags": "faststart"},
    )
    content = whole.read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content[: len(content) * 4 // 5])
    assert ffmpeg.repair(broken, tmp_path / "fixed.mp4") == "copied"
    assert 1.0 < probe(tmp_path / "fixed.mp4").end_s < 2.0
    middle = len(content) * 3 // 4
    broken.write_bytes(content[:middle] + b"\xa5" * 60 + content[middle + 60 :])
    assert ffmpeg.repair(broken, tmp_path / "fixed.mp4") == "encoded"
    frames = list(read_frames(tmp_path / "fixed.mp4", 0.0, 50))
    assert [index for index, frame in enumerate(frames) if frame.mean() > 150] == [25]


def test_nothing_is_left_of_what_cannot_be_repaired(tmp_path):
    (tmp_path / "text.mp4").write_text("no media")
    with pytest.raises(ItemError, match="ffmpeg ended with") as caught:
        ffmpeg.repair(tmp_path / "text.mp4", tmp_path / "fixed.mp4")
    assert caught.value.reason is Reason.UNDECODABLE
    assert len(caught.value.message) < 500
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_mux_combines_the_pictures_with_other_sound(tmp_path, clip):
    sound = make_clip(
        tmp_path / "s.mov", audio=click_audio(2, 0.6, 48_000), rate_hz=48_000,
        audio_codec="pcm_s16le",
    )  # fmt: skip
    ffmpeg.mux(clip, sound, tmp_path / "both.mp4")
    assert click_time(read_audio(tmp_path / "both.mp4", 0, 32_000)) == pytest.approx(0.6, abs=0.001)
    frames = list(read_frames(tmp_path / "both.mp4", 0.0, 50))
    assert [index for index, frame in enumerate(frames) if frame.mean() > 150] == [25]


def test_playlists_are_not_followed(tmp_path):
    stream = make_clip(tmp_path / "b.ts", pictures=flash_pictures(25, 5))
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1.0,\n{stream}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(ItemError, match="ffmpeg ended with"):
        ffmpeg.cut(tmp_path / "list.m3u8", tmp_path / "cut.mp4", 0.0, 0.5)


def test_named_binary_comes_first_and_must_exist(monkeypatch):
    monkeypatch.setenv("FFMPEG_BINARY", sys.executable)
    assert ffmpeg.binary() == sys.executable
    monkeypatch.setenv("FFMPEG_BINARY", "/no/such/program")
    with pytest.raises(UsageError, match="FFMPEG_BINARY"):
        ffmpeg.binary()


def test_pinned_binary_comes_before_the_systems(tmp_path, monkeypatch):
    pinned, system = str(imageio_ffmpeg.get_ffmpeg_exe()), tmp_path / "ffmpeg"
    system.write_text("#!/bin/sh\n")
    system.chmod(0o755)
    monkeypatch.delenv("FFMPEG_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg.binary() == pinned
    version = subprocess.run([pinned, "-version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("ffmpeg version")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if not installed
    assert ffmpeg.binary() == str(system)
    system.unlink()
    with pytest.raises(UsageError, match="ffmpeg was not found"):
        ffmpeg.binary()


def test_binary_that_hangs_is_killed_and_its_output_is_limited(tmp_path, clip, monkeypatch):
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nyes complaint | head -c 3000000 >&2\nexec sleep 6000\n")
    script.chmod(0o755)
    monkeypatch.setenv("FFMPEG_BINARY", str(script))
    with pytest.raises(ItemError, match=r"more than 0\.5 s") as caught:
        ffmpeg.cut(clip, tmp_path / "cut.mp4", 0.0, 0.5, timeout_s=0.5)
    assert caught.value.reason is Reason.TIMED_OUT
