import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.media.decode import read_audio, read_frames
from avsep.media.ffmpeg import binary
from avsep.media.probe import probe
from tests.support.clip_maker import (
    click_audio,
    click_time,
    flash_pictures,
    make_clip,
    noisy_pictures,
    numbered_pictures,
    numbers_of,
)

NO_B_FRAMES, B_FRAMES = {"bf": "0"}, {"bf": "3", "b_strategy": "0"}


def bright(frames) -> list[int]:
    return [index for index, frame in enumerate(frames) if frame.mean() > 150]


def check_flash_and_click(path, frame: int = 25, span_s: float = 1.9) -> None:
    """The flash is picture `frame` and the click sounds when that picture begins to show."""
    start_s = max(0.0, probe(path).start_s)
    frames = list(read_frames(path, start_s, int(span_s * 25)))
    audio = read_audio(path, start_s, round(span_s * 16_000))
    (flash,) = bright(frames)
    assert flash == frame - round(start_s * 25)
    assert click_time(audio) == pytest.approx(frame / 25 - start_s, abs=0.001)


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels", "codecs"),
    [
        ("aac16.mp4", 16_000, 1, {}),
        ("aac16_stereo.mp4", 16_000, 2, {}),
        ("aac44.mp4", 44_100, 2, {}),
        ("aac48.mp4", 48_000, 1, {}),
        ("aac48_5_1.mp4", 48_000, 6, {}),
        ("aac11.mp4", 11_025, 1, {}),
        ("pcm.mov", 48_000, 2, {"audio_codec": "pcm_s16le"}),
        ("float.mov", 44_100, 1, {"audio_codec": "pcm_f32le"}),
        ("aac.mkv", 48_000, 1, {}),
        ("opus.webm", 48_000, 2, {"audio_codec": "libopus", "video_codec": "libvpx"}),
        ("old.avi", 48_000, 1, {"audio_codec": "pcm_s16le", "video_codec": "mpeg4"}),
    ],
)
def test_flash_and_click_stay_together(tmp_path, name, rate_hz, channels, codecs):
    path = make_clip(
        tmp_path / name,
        pictures=flash_pictures(50, 25),
        audio=click_audio(2.0, 1.0, rate_hz, channels),
        rate_hz=rate_hz,
        **codecs,
    )
    check_flash_and_click(path)


@pytest.mark.parametrize("name", ["plain.ts", "no_edit_list.mp4"])
def test_file_whose_streams_start_later_keeps_them_together(tmp_path, name):
    path = make_clip(
        tmp_path / name,
        pictures=flash_pictures(50, 25),
        audio=click_audio(2.0, 1.0, 16_000),
        container_options={"use_editlist": "0"} if name.endswith("mp4") else {},
    )
    # Both streams are 80 ms late, by the room that B frames and the encoder delay need.
    assert probe(path).video_start_s == pytest.approx(0.08)
    check_flash_and_click(path, frame=27)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
@pytest.mark.parametrize("late", ["audio", "video"])
def test_late_stream_is_placed_by_its_offset(tmp_path, late, name):
    delay_s = 0.32
    if late == "audio":
        path = make_clip(
            tmp_path / name,
            pictures=flash_pictures(50, 25),
            audio=click_audio(2.0 - delay_s, 1.0 - delay_s, 16_000),
            audio_delay_s=delay_s,
        )
    else:
        path = make_clip(
            tmp_path / name,
            pictures=flash_pictures(50 - 8, 25 - 8),
            audio=click_audio(2.0, 1.0, 16_000),
            video_delay_s=delay_s,
        )
    check_flash_and_click(path, span_s=1.5)
    info = probe(path)
    # The encoder's delay comes before the first sample where no edit list can cut it off.
    assert info.start_s == pytest.approx(delay_s, abs=0.07)


def test_edit_list_that_starts_between_key_pictures_is_honoured(tmp_path):
    """What `ffmpeg -ss 0.52 -c copy` writes: earlier packets are there, but are not to be shown."""
    whole = make_clip(
        tmp_path / "whole.mp4", pictures=flash_pictures(50, 25), audio=click_audio(2, 1.0, 16_000)
    )
    path = tmp_path / "copied.mp4"
    command = [binary(), "-v", "error", "-ss", "0.52", "-i", str(whole), "-c", "copy", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with av.open(str(path)) as container:
        assert sum(p.is_discard for p in container.demux(video=0) if p.size) > 5
    info = probe(path)
    assert info.start_s == pytest.approx(0, abs=0.041)
    assert info.end_s == pytest.approx(1.48, abs=0.07)
    assert info.num_pictures == pytest.approx(37, abs=1)
    assert bright(read_frames(path, 0.0, 35)) == [12]
    assert click_time(read_audio(path, 0.0, 22_400)) == pytest.approx(0.48, abs=0.0015)


@pytest.mark.parametrize("options", [NO_B_FRAMES, B_FRAMES])
def test_every_picture_of_a_25_fps_source_is_read_once(tmp_path, options):
    path = make_clip(tmp_path / "a.mp4", pictures=numbered_pictures(50), video_options=options)
    with av.open(str(path)) as container:
        reordered = any(p.pts != p.dts for p in container.demux(video=0) if p.size)
    assert reordered == (options is B_FRAMES)
    assert numbers_of(list(read_frames(path, 0.0, 50))) == list(range(50))


@pytest.mark.parametrize(
    ("fps", "count"),
    [(Fraction(30_000, 1001), 45), (Fraction(24_000, 1001), 36), (50, 50), (15, 24), (30, 45)],
)
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_other_rates_give_the_picture_that_is_shown(tmp_path, fps, count, container):
    path = make_clip(tmp_path / f"a.{container}", pictures=numbered_pictures(count), fps=fps)
    num_frames = int(count / fps * 25)
    expected = [
        max(k for k in range(count) if k / fps < Fraction(2 * i + 1, 50) - Fraction(1, 1000))
        for i in range(num_frames)
    ]
    assert numbers_of(list(read_frames(path, 0.0, num_frames))) == expected


def test_50_fps_gives_every_second_picture(tmp_path):
    for name in ("a.mp4", "a.mkv", "a.ts"):
        path = make_clip(tmp_path / name, pictures=numbered_pictures(50), fps=50)
        frames = list(read_frames(path, probe(path).video_start_s, 25))
        assert numbers_of(frames) == list(range(0, 50, 2)), name


def test_variable_rate_follows_the_time_stamps(tmp_path):
    times_s = [0.0, 0.033, 0.1, 0.5, 0.52, 0.54, 0.9, 1.5]
    path = make_clip(tmp_path / "a.mp4", pictures=numbered_pictures(8), times_s=times_s)
    expected = [max(k for k in range(8) if times_s[k] < (i + 0.5) / 25) for i in range(40)]
    assert numbers_of(list(read_frames(path, 0.0, 40))) == expected


def test_span_in_the_middle_starts_where_it_is_asked_to(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4", pictures=numbered_pictures(50), audio=click_audio(2, 1.0, 44_100),
        rate_hz=44_100,
    )  # fmt: skip
    assert numbers_of(list(read_frames(path, 0.6, 10))) == list(range(15, 25))
    assert click_time(read_audio(path, 0.6137, 16_000)) == pytest.approx(1 - 0.6137, abs=0.001)


def test_before_and_after_the_file_pictures_repeat_and_sound_is_zero(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4", pictures=numbered_pictures(25), audio=click_audio(1, 0.5, 16_000)
    )
    assert numbers_of(list(read_frames(path, -0.2, 40))) == [0] * 5 + list(range(25)) + [24] * 10
    audio = read_audio(path, -0.2, 25_600)
    assert not audio[: 3_200 - 16].any()
    assert not audio[3_200 + 16_000 + 1_024 :].any()
    assert audio[3_200:19_200].any()
    assert read_audio(path, 50.0, 160).tolist() == [0] * 160


def test_16_khz_mono_pcm_is_read_bit_by_bit(tmp_path):
    audio = click_audio(1.0, 0.5, 16_000)
    path = make_clip(tmp_path / "a.mov", audio=audio, audio_codec="pcm_s16le")
    assert np.array_equal(read_audio(path, 0.0, 16_000), audio[:, 0])
    assert np.array_equal(read_audio(path, 0.25, 8_000), audio[4_000:12_000, 0])


def test_tone_keeps_its_level_and_pitch_through_resampling(tmp_path):
    time_s = np.arange(44_100) / 44_100
    tone = (10_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)[:, None]
    path = make_clip(tmp_path / "a.mov", audio=tone, rate_hz=44_100, audio_codec="pcm_s16le")
    expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    found = read_audio(path, 0.0, 16_000)
    assert np.abs(found - expected)[160:-160].max() < 15


def test_gap_in_the_sound_is_kept(tmp_path):
    path = tmp_path / "gap.mkv"
    audio = click_audio(1.0, 0.5, 16_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start in (0, 24_000):  # the second half a second late
            frame = av.AudioFrame.from_ndarray(audio.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    found = read_audio(path, 0.0, 40_000)
    assert click_time(found[:16_000]) == pytest.approx(0.5, abs=0.001)
    assert not found[16_020:23_980].any()
    assert click_time(found[24_000:]) == pytest.approx(0.5, abs=0.001)


def test_decoding_is_repeatable_to_the_bit(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4", pictures=noisy_pictures(10), audio=click_audio(1, 0.5, 44_100),
        rate_hz=44_100,
    )  # fmt: skip
    runs = [(list(read_frames(path, 0.0, 10)), read_audio(path, 0.0, 6_400)) for _ in range(2)]
    assert np.array_equal(runs[0][0], runs[1][0])
    assert np.array_equal(runs[0][1], runs[1][1])


def test_missing_streams_are_named(tmp_path):
    sound = make_clip(tmp_path / "sound.mp4", audio=click_audio(1, 0.5, 16_000))
    sight = make_clip(tmp_path / "sight.mp4", pictures=flash_pictures(5, 2))
    with pytest.raises(ItemError) as caught:
        list(read_frames(sound, 0.0, 5))
    assert caught.value.reason is Reason.NO_VIDEO
    with pytest.raises(ItemError) as caught:
        read_audio(sight, 0.0, 100)
    assert caught.value.reason is Reason.NO_AUDIO


def test_nonsense_spans_are_refused(tmp_path):
    path = make_clip(tmp_path / "a.mp4", pictures=flash_pictures(5, 2))
    for start_s, frames in ((0.0, -1), (float("nan"), 5), (0.0, 10**9)):
        with pytest.raises(ValueError, match="span"):
            list(read_frames(path, start_s, frames))
    assert list(read_frames(path, 0.0, 0)) == []


def rounded_durations(source, target, *, cut_last: int = 0) -> None:
    """Copy a clip with its sound's packets rounded to milliseconds, as a remux of an MKV has."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        streams = {s.index: writer.add_stream_from_template(s) for s in reader.streams}
        packets = [packet for packet in reader.demux() if packet.dts is not None]
        for index, packet in enumerate(packets):
            if packet.stream.type == "audio":
                rate_hz = packet.stream.rate
                start = packet.pts * packet.time_base
                packet.pts = packet.dts = round(start * 1000) * rate_hz // 1000
                packet.duration = round(packet.duration / rate_hz * 1000) * rate_hz // 1000
                packet.duration -= cut_last * (index == len(packets) - 1)
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)


@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 16_000])
def test_durations_of_packets_in_the_middle_are_not_trusted(tmp_path, rate_hz):
    audio = (8_000 * np.sin(np.arange(2 * rate_hz) * 0.2)).astype(np.int16)[:, None]
    path = make_clip(tmp_path / "a.mp4", audio=audio, rate_hz=rate_hz)
    rounded_durations(path, tmp_path / "b.mp4")
    exact, rounded = (read_audio(tmp_path / name, 0.0, 30_000) for name in ("a.mp4", "b.mp4"))
    assert np.abs(exact.astype(int) - rounded)[400:].max() <= 2


def test_duration_of_the_last_packet_ends_the_sound(tmp_path):
    audio = (8_000 * np.sin(np.arange(20_480) * 0.2)).astype(np.int16)[:, None]
    path = make_clip(tmp_path / "a.mp4", audio=audio)
    rounded_durations(path, tmp_path / "b.mp4", cut_last=600)
    whole, cut = (
        np.flatnonzero(np.abs(read_audio(tmp_path / name, 0.0, 32_000).astype(int)) > 500)[-1]
        for name in ("a.mp4", "b.mp4")
    )
    assert whole - cut == pytest.approx(600, abs=30)
