"""Time stamps that start again: one time line for sound and pictures, or a reason."""

import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.media.decode import read_audio, read_frames, stream_audio
from avsep.media.ffmpeg import binary
from avsep.media.probe import probe
from avsep.media.sampling import sample_grey, spread_times
from tests.support.clip_maker import click_audio, flash_pictures, make_clip

LONGEST_LAG_S = 0.045  # a flash is only known to the frame


def ffmpeg(*arguments) -> None:
    command = [binary(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def part(path, mark_s: float, *, sound_s: float = 3.0, picture_s: float = 3.0, **changes):
    """A clip with a flash and a click at `mark_s`."""
    codecs = {"video_options": {"g": "25", "bf": "2"}}
    if path.suffix == ".mpg":
        codecs = {"video_codec": "mpeg2video", "audio_codec": "mp2"}
    return make_clip(
        path,
        pictures=flash_pictures(round(picture_s * 25), round(mark_s * 25)),
        audio=click_audio(sound_s, mark_s, 48_000),
        rate_hz=48_000,
        **(codecs | changes),
    )


def shifted(source, target, first_s: float):
    ffmpeg("-copyts", "-i", source, "-c", "copy", "-output_ts_offset", first_s, target)
    return target


def glue(target, *parts):
    target.write_bytes(b"".join(p.read_bytes() for p in parts))
    return target


def marks(path) -> tuple[list[float], list[float]]:
    """When the flashes and the clicks are, in seconds from the start of the shared span."""
    info = probe(path)
    span_s = info.end_s - info.start_s
    frames = read_frames(path, info.start_s, int(span_s * 25))
    flashes = [index / 25 for index, frame in enumerate(frames) if frame.mean() > 150]
    sound = np.abs(read_audio(path, info.start_s, int(span_s * 16_000)).astype(int))
    loud = np.flatnonzero(sound > 4_000)
    clicks = [loud[0], *loud[1:][np.diff(loud) > 1_600]] if len(loud) else []
    return flashes, [float(place) / 16_000 for place in clicks]


def check_marks(path, count: int, seconds: float) -> None:
    """Every flash has its click, all of the recording is there, and it streams the same."""
    flashes, clicks = marks(path)
    assert len(flashes) == len(clicks) == count, (flashes, clicks)
    assert np.abs(np.subtract(flashes, clicks)).max() < LONGEST_LAG_S, (flashes, clicks)
    info = probe(path)
    assert info.end_s - info.start_s == pytest.approx(seconds, abs=0.3)
    assert info.fps == pytest.approx(25, abs=1.5)
    streamed = sum(len(block) for _, block in stream_audio(path)) / 16_000
    assert streamed == pytest.approx(info.audio_end_s - info.audio_start_s, abs=0.1)
    times_s = spread_times(info.start_s, info.end_s, 8)
    assert len(sample_grey(path, times_s, info.key_times_s)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".ts", ".mpg", ".mkv"])
def test_stamps_that_start_again_are_joined_for_sound_and_pictures_alike(tmp_path, suffix):
    parts = [part(tmp_path / f"{mark_s}{suffix}", mark_s) for mark_s in (2.0, 1.0, 1.6)]
    check_marks(glue(tmp_path / f"two{suffix}", *parts[:2]), 2, 6.0)
    three = glue(tmp_path / f"three{suffix}", *parts)
    if suffix == ".mkv":  # of which FFmpeg reads only two
        with pytest.raises(ItemError, match="can be read"):
            probe(three)
    else:
        check_marks(three, 3, 9.0)


@pytest.mark.slow
@pytest.mark.parametrize("first_s", [0.5, 20.0, 7_200.0, 95_000.0])
@pytest.mark.parametrize("back", [False, True])
def test_jumps_back_and_ahead_by_seconds_and_hours_are_joined(tmp_path, first_s, back):
    here = part(tmp_path / "a.ts", 2.0)
    there = shifted(part(tmp_path / "b.ts", 1.0), tmp_path / "c.ts", first_s)
    check_marks(glue(tmp_path / "j.ts", *((there, here) if back else (here, there))), 2, 6.0)


def test_a_wrap_of_33_bit_stamps_is_no_break(tmp_path):
    whole = part(tmp_path / "a.ts", 2.0, sound_s=4.0, picture_s=4.0)
    wrap_s = 2**33 / 90_000
    check_marks(shifted(whole, tmp_path / "w.ts", wrap_s - 3.0), 1, 4.0)


@pytest.mark.parametrize(("sound_s", "picture_s"), [(2.0, 3.0), (3.0, 2.0)])
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_parts_with_streams_of_unequal_length_stay_together(tmp_path, suffix, sound_s, picture_s):
    first = part(tmp_path / f"a{suffix}", 1.0, sound_s=sound_s, picture_s=picture_s)
    second = part(tmp_path / f"b{suffix}", 1.6)
    flashes, clicks = marks(glue(tmp_path / f"j{suffix}", first, second))
    assert np.abs(np.subtract(flashes, clicks)).max() < LONGEST_LAG_S
    assert len(flashes) == 2


@pytest.mark.parametrize("only", ["sound", "pictures"])
@pytest.mark.parametrize("first", [False, True])
def test_a_part_with_one_stream_moves_the_other_along(tmp_path, only, first):
    both = part(tmp_path / "b.ts", 1.6)
    streams = (
        {"audio": click_audio(2.0, 1.0, 48_000), "container_options": {"mpegts_start_pid": "257"}}
        if only == "sound"
        else {"pictures": flash_pictures(50, 25)}
    )
    alone = make_clip(tmp_path / "a.ts", rate_hz=48_000, **streams)
    path = glue(tmp_path / "j.ts", *((alone, both) if first else (both, alone)))
    flashes, clicks = marks(path)
    assert min(abs(flash - click) for flash in flashes for click in clicks) < LONGEST_LAG_S


def restamped(path, target, stamp) -> None:
    """Copy a clip with the stamps, in seconds, that `stamp(kind, time_s)` gives its packets."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            moved = stamp(packet.stream.type, float(packet.dts * packet.time_base))
            ticks = round((moved - float(packet.dts * packet.time_base)) / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = streams[packet.stream.index]
            copy.mux_one(packet)


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_only_one_stream_that_jumps_is_no_recording_to_trust(tmp_path, kind, suffix):
    path = part(tmp_path / f"a{suffix}", 1.0, sound_s=6.0, picture_s=6.0)
    jumped = tmp_path / f"b{suffix}"
    # Copied unsorted, as a recorder writes it whose one clock jumps.
    restamped(path, jumped, lambda what, time_s: time_s + 30 * (what == kind and time_s > 3))
    with pytest.raises(ItemError, match="jump by") as caught:
        probe(jumped)
    assert caught.value.reason is Reason.UNDECODABLE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_pause_of_one_stream_stays_a_pause(tmp_path, kind):
    path = tmp_path / "a.mkv"
    rate_hz = 48_000
    sound = click_audio(30.0, 28.0, rate_hz)
    times_s = [i / 25 for i in range(750) if kind == "audio" or not 3 < i / 25 < 25]
    pictures = flash_pictures(750, 700)
    if kind == "video":
        make_clip(
            path, pictures=[pictures[round(t * 25)] for t in times_s], times_s=times_s,
            audio=sound, rate_hz=rate_hz,
        )  # fmt: skip
    else:
        whole = make_clip(tmp_path / "w.mkv", pictures=pictures, audio=sound, rate_hz=rate_hz)
        with av.open(str(whole)) as source, av.open(str(path), "w") as copy:
            streams = {s.index: copy.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is None:
                    continue
                late = 3 < packet.dts * packet.time_base < 25
                if packet.stream.type == "audio" and late:
                    continue
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    flashes, clicks = marks(path)
    start_s = probe(path).start_s
    assert flashes == pytest.approx([28.0 - start_s], abs=0.021)
    assert clicks == pytest.approx([28.0 - start_s], abs=0.005)


def test_a_wild_stamp_does_not_move_the_rest(tmp_path):
    path = part(tmp_path / "a.ts", 2.0, sound_s=4.0, picture_s=4.0)
    content = bytearray(path.read_bytes())
    for wild_s, picture in ((7_000, 10), (0, 70)):
        place = -1
        for _ in range(picture):
            place = content.index(b"\x00\x00\x01\xe0", place + 1)
        set_stamp(content, place, wild_s * 90_000)
    path.write_bytes(content)
    check_marks(path, 1, 4.0)


def set_stamp(content: bytearray, place: int, ticks: int) -> None:
    """Overwrite the presentation and decoding time of the PES packet at a place."""
    for first in (place + 9, place + 14)[: 1 + (content[place + 7] >> 6 & 1)]:
        content[first] = content[first] & 0xF1 | (ticks >> 30 & 7) << 1
        content[first + 1 : first + 3] = ((ticks >> 15 & 0x7FFF) << 1 | 1).to_bytes(2, "big")
        content[first + 3 : first + 5] = ((ticks & 0x7FFF) << 1 | 1).to_bytes(2, "big")


def test_fragments_whose_clock_starts_again_are_refused(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    parts = [part(tmp_path / f"{m}.mp4", m, container_options=options) for m in (2.0, 1.0)]
    path = glue(tmp_path / "j.mp4", *parts)
    with pytest.raises(ItemError, match="start again") as caught:
        probe(path)
    assert caught.value.reason is Reason.UNDECODABLE


SECOND_FILE = {
    ".mp4": {},
    ".mov": {"container_options": {"movflags": "faststart"}},
    ".asf": {"audio_codec": "libmp3lame"},
    ".ogg": {"video_codec": "libvpx", "audio_codec": "libopus"},
}


@pytest.mark.parametrize("suffix", SECOND_FILE)
def test_a_second_file_behind_the_first_is_not_left_out_silently(tmp_path, suffix):
    parts = [part(tmp_path / f"{m}{suffix}", m, **SECOND_FILE[suffix]) for m in (2.0, 1.0)]
    info = probe(parts[0])
    assert info.end_s - info.start_s == pytest.approx(3.0, abs=0.1)
    with pytest.raises(ItemError, match=r"only the first .* can be read") as caught:
        probe(glue(tmp_path / f"j{suffix}", *parts))
    assert caught.value.reason is Reason.UNDECODABLE


@pytest.mark.slow
def test_what_ffmpeg_does_not_read_is_not_left_out_silently(tmp_path):
    parts = [part(tmp_path / f"{m}.flv", m, audio_codec="aac") for m in (2.0, 1.0)]
    with pytest.raises(ItemError, match="can be read") as caught:
        probe(glue(tmp_path / "j.flv", *parts))
    assert caught.value.reason is Reason.UNDECODABLE
    reserved = tmp_path / "reserved.flv"
    reserved.write_bytes(parts[0].read_bytes() + bytes(1 << 20))
    check_marks(reserved, 1, 3.0)


def test_edit_lists_of_several_parts_keep_sound_and_pictures_together(tmp_path):
    """What an editor writes that cuts a clip without touching its packets."""
    path = part(tmp_path / "a.mp4", 1.5)
    late = tmp_path / "late.mp4"
    ffmpeg("-itsoffset", "1.2", "-i", path, "-i", path, "-map", "1:v", "-map", "0:a", "-c", "copy",
           late)  # fmt: skip
    flashes, clicks = marks(late)
    assert clicks[0] - flashes[0] == pytest.approx(1.2, abs=LONGEST_LAG_S)
    assert probe(late).start_s == pytest.approx(1.2, abs=0.05)


def test_joining_is_exact_to_a_tick(tmp_path):
    """Blocks of sound are neither doubled nor lost at a cut between packets."""
    audio = click_audio(2.0, 1.0, 48_000)
    parts = [
        make_clip(
            tmp_path / f"{n}.mkv", pictures=flash_pictures(50, 25), audio=audio, rate_hz=48_000,
            audio_codec="pcm_s16le", fps=Fraction(25),
        )
        for n in range(2)
    ]  # fmt: skip
    path = glue(tmp_path / "j.mkv", *parts)
    found = read_audio(path, 0.0, 64_000)
    assert np.abs(found[100:31_900].astype(int) - found[32_100:63_900]).max() <= 2
