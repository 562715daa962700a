import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest

from avsep.errors import ItemError, Reason, UsageError
from avsep.files import sha256_file
from avsep.media import ffmpeg
from avsep.media.decode import read_audio, read_frames
from tests.support.clip_maker import click_audio, click_time, flash_pictures, make_clip


@pytest.fixture
def clip(tmp_path):
    return make_clip(
        tmp_path / "a.mp4", pictures=flash_pictures(50, 25), audio=click_audio(2.0, 1.0, 16_000)
    )


def remade(path, target, **changes):
    ffmpeg.remake([ffmpeg.Input(path=path, video=0, audio=1)], target, (0, 0), **changes)
    return target


def test_remaking_gives_the_same_bytes_again_and_keeps_the_times(tmp_path, clip):
    one, two = (remade(clip, tmp_path / name) for name in ("one.mkv", "two.mkv"))
    assert sha256_file(one) == sha256_file(two)
    assert click_time(read_audio(one, 0.0, 32_000)) == pytest.approx(1.0, abs=0.0015)
    flashes = [index for index, frame in enumerate(read_frames(one, 0.0, 50)) if frame.mean() > 150]
    assert flashes == [25]


def test_nothing_is_left_of_what_cannot_be_read_or_grows_too_large(tmp_path, clip, monkeypatch):
    (tmp_path / "text.mp4").write_text("no media")
    with pytest.raises(ItemError, match="ffmpeg ended with") as caught:
        remade(tmp_path / "text.mp4", tmp_path / "fixed.mkv")
    assert caught.value.reason is Reason.UNDECODABLE
    assert len(caught.value.message) < 500
    monkeypatch.setattr(ffmpeg, "MAX_BYTES", 20_000)
    monkeypatch.setitem(ffmpeg._ENCODING, "fs", 20_000)
    with pytest.raises(ItemError, match="larger than") as caught:
        remade(clip, tmp_path / "fixed.mkv")
    assert caught.value.reason is Reason.TOO_LONG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "text.mp4"]


def test_playlists_are_not_followed(tmp_path):
    stream = make_clip(tmp_path / "b.ts", pictures=flash_pictures(25, 5))
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1.0,\n{stream}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(ItemError, match="ffmpeg ended with"):
        remade(tmp_path / "list.m3u8", tmp_path / "a.mkv")


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


@pytest.mark.slow
def test_binary_that_hangs_is_killed_and_its_output_is_limited(tmp_path, clip, monkeypatch):
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nyes complaint | head -c 3000000 >&2\nexec sleep 6000\n")
    script.chmod(0o755)
    monkeypatch.setenv("FFMPEG_BINARY", str(script))
    with pytest.raises(ItemError, match=r"more than 0\.5 s") as caught:
        remade(clip, tmp_path / "b.mkv", timeout_s=0.5)
    assert caught.value.reason is Reason.TIMED_OUT


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -XCPU $$", Reason.TIMED_OUT),
        ("exit 255", Reason.TIMED_OUT),  # which ffmpeg makes of it
        ("kill -KILL $$", Reason.WORKER_DIED),
        ("exit 228", Reason.OUT_OF_SPACE),
        ("echo 'b.mkv: No space left on device' >&2; exit 1", Reason.OUT_OF_SPACE),
        ("echo 'Disk quota exceeded' >&2; exit 1", Reason.OUT_OF_SPACE),
        ("exit 183", Reason.UNDECODABLE),
    ],
)
def test_only_what_is_wrong_with_the_file_drops_it(tmp_path, clip, monkeypatch, script, reason):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("FFMPEG_BINARY", str(program))
    with pytest.raises(ItemError) as caught:
        remade(clip, tmp_path / "b.mkv")
    assert caught.value.reason is reason


@pytest.mark.slow
def test_the_time_limit_of_ffmpeg_itself_is_a_time_out(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    long = make_clip(
        tmp_path / "a.mkv", pictures=[rng.integers(0, 255, (1080, 1920, 3), np.uint8)] * 60,
        video_codec="mjpeg", audio=click_audio(2.4, 1.0, 16_000),
    )  # fmt: skip
    wait = subprocess.Popen.wait
    # Where this process was killed, nobody else ends it.
    monkeypatch.setattr(subprocess.Popen, "wait", lambda self, timeout=None: wait(self, 60))
    with pytest.raises(ItemError, match="processor time") as caught:
        remade(long, tmp_path / "b.mkv", timeout_s=0.5)
    assert caught.value.reason is Reason.TIMED_OUT


def test_pictures_of_odd_size_get_a_line(tmp_path):
    pictures = flash_pictures(50, 25, (49, 65))
    path = make_clip(
        tmp_path / "a.mkv", pictures=pictures, video_codec="ffv1", pixel_format="bgr0",
        video_options={}, audio=click_audio(2.0, 1.0, 16_000),
    )  # fmt: skip
    frame = next(iter(read_frames(remade(path, tmp_path / "b.mkv"), 1.0, 1)))
    assert frame.shape == (50, 66, 3)
    assert frame[:48, :64].min() > 200
    assert frame[:, 65].max() < 60
