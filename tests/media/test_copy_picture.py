"""Coded pictures that are copied to an MP4 stay as they are, and in time with the sound."""

import errno
import math
from fractions import Fraction

import av
import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.media import copy_picture
from avsep.media.copy_picture import check_copy, copy_pictures
from avsep.media.decode import read_audio, read_frames
from avsep.media.probe import probe
from tests.media.test_joined_time_lines import ffmpeg, glue, marks, part, shifted
from tests.support.clip_maker import click_audio, flash_pictures, make_clip


def copied(path, target):
    """Copy the pictures with the file's own sound at 16 kHz, from the start of the sound on."""
    info = probe(path)
    start_s = info.audio_start_s
    sound = read_audio(path, start_s, math.floor((info.audio_end_s - start_s) * 16_000))
    check_copy(path, start_s)
    copy_pictures(path, target, sound, start_s)
    return target


def lags(path) -> list[float]:
    """How long after each flash its click is heard, in seconds of presentation time."""
    flashes, clicks = marks(path)
    flashes = [t for t, before in zip(flashes, [-1.0, *flashes], strict=False) if t - before > 0.1]
    assert len(flashes) == len(clicks) > 0
    return [click - flash for flash, click in zip(flashes, clicks, strict=True)]


def coded(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


VFR_S = [i / 25 if i < 20 else 0.8 + (i - 20) / 15 for i in range(60)]
SOURCES = {
    "ordinary.mp4": {},
    "ordinary.mkv": {},
    "late_sound.mkv": {"audio_delay_s": 0.3},
    "late_picture.mp4": {"video_delay_s": 0.48},
    "starts_at_seven.mkv": {"audio_delay_s": 7.0, "video_delay_s": 7.0},
    "starts_at_seven.ts": {"audio_delay_s": 7.0, "video_delay_s": 7.2},
    "ntsc.mp4": {"fps": Fraction(30_000, 1001)},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "vfr.mkv": {"times_s": VFR_S, "video_options": {"bf": "0"}},
    "vp9.webm": {
        "video_codec": "libvpx-vp9",
        "audio_codec": "libopus",
        "video_options": {"deadline": "realtime", "cpu-used": "8"},
    },
    "mpeg4.avi": {"video_codec": "mpeg4", "audio_codec": "libmp3lame", "video_options": {}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_sound_and_pictures_stay_together(tmp_path, name):
    changes = dict(SOURCES[name])
    seconds = 3.0 if "times_s" not in changes else 2.4
    source = part(tmp_path / name, 1.0, sound_s=3.5, picture_s=seconds, **changes)
    wanted = lags(source)
    found = copied(source, tmp_path / "copy.mp4")
    assert lags(found) == pytest.approx(wanted, abs=0.045)
    if source.suffix in (".mp4", ".mkv", ".webm", ".avi"):
        assert coded(found) == coded(source)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "reordered"), [(".ts", "2"), (".mkv", "0")])
def test_joined_parts_stay_together(tmp_path, suffix, reordered):
    options = {"video_options": {"g": "25", "bf": reordered}}
    first = part(tmp_path / f"a{suffix}", 2.0, **options)
    second = part(tmp_path / f"b{suffix}", 1.0, **options)
    if suffix == ".ts":
        second = shifted(second, tmp_path / "c.ts", 95_000.0)
    source = glue(tmp_path / f"j{suffix}", first, second)
    found = copied(source, tmp_path / "copy.mp4")
    assert len(lags(found)) == 2
    assert lags(found) == pytest.approx(lags(source), abs=0.045)


@pytest.mark.slow
def test_a_clip_that_was_cut_between_key_pictures_shows_no_more_than_before(tmp_path):
    whole = part(tmp_path / "a.mp4", 2.0, sound_s=4.0, picture_s=4.0, video_options={"g": "100"})
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.52", "-i", whole, "-c", "copy", cut)
    found = copied(cut, tmp_path / "copy.mp4")
    assert lags(found) == pytest.approx(lags(cut), abs=0.045)
    assert probe(found).video_start_s == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("turn", ["-display_rotation 90", "-display_hflip", "-display_vflip"])
def test_rotation_and_mirroring_stay(tmp_path, turn):
    pictures = flash_pictures(50, 25, (48, 80))
    for picture in pictures:
        picture[:16, :16] = 200  # one corner
    plain = make_clip(tmp_path / "p.mp4", pictures=pictures, audio=click_audio(2, 1, 16_000))
    turned = tmp_path / "t.mp4"
    ffmpeg(*turn.split(), "-i", plain, "-c", "copy", turned)
    found = copied(turned, tmp_path / "copy.mp4")
    wanted, got = (next(iter(read_frames(path, 0.2, 1))) for path in (turned, found))
    assert np.array_equal(wanted, got)
    assert not np.array_equal(got, next(iter(read_frames(plain, 0.2, 1))))


def test_wide_pixels_stay(tmp_path):
    source = part(tmp_path / "a.mkv", 1.0, sample_aspect_ratio=Fraction(16, 11))
    found = copied(source, tmp_path / "copy.mp4")
    assert (probe(found).width, probe(found).height) == (probe(source).width, probe(source).height)


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("a.mkv", {"video_codec": "mjpeg", "video_options": {}}, "do not show mjpeg"),
        ("a.mpg", {}, "do not show mpeg1video|do not show mpeg2video"),
    ],
)
def test_what_cannot_be_copied_is_said(tmp_path, name, changes, why):
    source = part(tmp_path / name, 1.0, **changes)
    with pytest.raises(ItemError, match=why):
        check_copy(source, 0.0)


def test_growing_pictures_cannot_be_copied(tmp_path):
    small = part(tmp_path / "a.ts", 1.0)
    large = make_clip(
        tmp_path / "b.ts", pictures=flash_pictures(75, 40, (96, 128)),
        audio=click_audio(3.0, 1.6, 48_000), rate_hz=48_000,
    )  # fmt: skip
    with pytest.raises(ItemError, match="size changes"):
        check_copy(glue(tmp_path / "j.ts", small, large), 0.0)


def test_what_the_muxer_refuses_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    source = part(tmp_path / "a.mkv", 1.0)
    packets = copy_picture._packets
    monkeypatch.setattr(copy_picture, "_packets", lambda *a: reversed(list(packets(*a))))
    with pytest.raises(ItemError, match="MP4 does not take them") as caught:
        copy_pictures(source, tmp_path / "copy.mp4", np.zeros(48_000, np.int16), 0.0)
    assert caught.value.reason is Reason.UNDECODABLE
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


def test_a_full_disk_is_not_a_property_of_the_pictures(tmp_path, monkeypatch):
    source = part(tmp_path / "a.mkv", 1.0)

    def full(*_args):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copy_picture, "encode_audio", full)
    with pytest.raises(OSError, match="No space") as caught:
        copy_pictures(source, tmp_path / "copy.mp4", np.zeros(48_000, np.int16), 0.0)
    assert caught.value.errno == errno.ENOSPC
