"""Damaged packets and recordings that begin between key pictures."""

import av
import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.media.decode import read_audio, read_frames
from avsep.media.probe import probe
from tests.support.clip_maker import (
    click_audio,
    click_time,
    make_clip,
    noisy_pictures,
    numbered_pictures,
    numbers_of,
)


def damage_packets(path, stream: str, indices: list[int]) -> None:
    """Overwrite the bytes of some packets of a clip."""
    with av.open(str(path)) as container:
        found = [p for p in container.demux(**{stream: 0}) if p.size]
        places = [(found[i].pos, found[i].size) for i in indices]
    content = bytearray(path.read_bytes())
    for position, size in places:
        content[position : position + size] = bytes([0xA5]) * size
    path.write_bytes(content)


def test_few_damaged_pictures_repeat_the_one_before(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4",
        pictures=numbered_pictures(50),
        video_options={"bf": "0", "g": "1"},
    )
    damage_packets(path, "video", [20, 30])
    expected = [19 if i == 20 else 29 if i == 30 else i for i in range(50)]
    assert numbers_of(list(read_frames(path, 0.0, 50))) == expected


@pytest.mark.parametrize("take", [lambda it: list(it), lambda it: [next(it) for _ in range(50)]])
def test_many_damaged_pictures_make_the_clip_undecodable(tmp_path, take):
    path = make_clip(tmp_path / "a.mp4", pictures=noisy_pictures(50), video_options={"g": "1"})
    damage_packets(path, "video", list(range(10, 20)))
    with pytest.raises(ItemError, match="packets of the video") as caught:
        take(read_frames(path, 0.0, 50))
    assert caught.value.reason is Reason.UNDECODABLE


def test_damaged_sound_is_silent_for_a_moment_or_undecodable(tmp_path):
    path = make_clip(tmp_path / "a.mp4", audio=click_audio(4.0, 3.0, 16_000))
    intact = read_audio(path, 0.0, 64_000)
    damage_packets(path, "audio", [20])
    found = read_audio(path, 0.0, 64_000)
    assert click_time(found) == pytest.approx(3.0, abs=0.001)
    changed = np.flatnonzero(found != intact)
    assert len(changed) > 0
    assert changed[-1] - changed[0] < 3 * 1_024
    damage_packets(path, "audio", list(range(5, 40)))
    with pytest.raises(ItemError, match="packets of the sound") as caught:
        read_audio(path, 0.0, 64_000)
    assert caught.value.reason is Reason.UNDECODABLE


def without_packets(source, target, drop) -> None:
    """Copy a clip without the video packets, by their number, for which `drop` is true."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        streams = {s.index: writer.add_stream_from_template(s) for s in reader.streams}
        number = 0
        for packet in reader.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                number += 1
                if drop(number - 1):
                    continue
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("ts", "libx264"), ("mkv", "libx264"), ("mkv", "libvpx"), ("ts", "mpeg2video")],
)
def test_recording_that_begins_between_key_pictures_starts_at_the_first_one(
    tmp_path, suffix, codec
):
    options = {"g": "25", "keyint_min": "25", "sc_threshold": "0", "bf": "0"}
    whole = make_clip(
        tmp_path / f"a.{suffix}",
        pictures=numbered_pictures(100),
        audio=click_audio(4.0, 2.0, 48_000),
        rate_hz=48_000,
        video_codec=codec,
        video_options=options if codec != "libvpx" else {"g": "25", "keyint_min": "25"},
    )
    path = tmp_path / f"b.{suffix}"
    without_packets(whole, path, lambda number: number < 8)
    start_s = probe(whole).video_start_s
    key = next(
        round((time_s - start_s) * 25)
        for time_s in probe(whole).key_times_s
        if time_s > start_s + 0.3
    )
    assert key in (12, 25)
    info = probe(path)
    assert info.video_start_s - start_s == pytest.approx(key / 25, abs=0.05)
    assert info.start_s == info.video_start_s
    assert numbers_of(list(read_frames(path, info.start_s, 50))) == list(range(key, key + 50))


def test_stretch_that_cannot_be_decoded_is_grey(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4",
        pictures=numbered_pictures(250),
        video_options={"bf": "0", "g": "1"},
    )
    damage_packets(path, "video", [*range(40, 50), 100, *range(249, 250)])
    frames = list(read_frames(path, 0.0, 250))
    grey = [index for index, frame in enumerate(frames) if (frame == 128).all()]
    assert grey == list(range(40, 50))
    assert numbers_of(frames[99:102]) == [99, 99, 101]
    assert numbers_of(frames[248:]) == [248, 248]
