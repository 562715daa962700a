import os

import av
import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.media import container as containers
from avsep.media.decode import read_audio, read_frames
from avsep.media.probe import probe
from avsep.media.sampling import sample_grey, spread_times
from tests.support.clip_maker import (
    click_audio,
    click_time,
    flash_pictures,
    make_clip,
    numbered_pictures,
)


def reason_of(path) -> Reason:
    with pytest.raises(ItemError) as caught:
        probe(path)
    return caught.value.reason


@pytest.fixture
def clip(tmp_path):
    return make_clip(
        tmp_path / "a.mp4", pictures=flash_pictures(50, 25), audio=click_audio(2, 1.0, 44_100, 2),
        rate_hz=44_100,
    )  # fmt: skip


def test_probe_tells_what_is_there(clip):
    info = probe(clip)
    assert (info.has_video, info.has_audio) == (True, True)
    assert (info.width, info.height, info.num_pictures) == (64, 64, 50)
    assert info.fps == pytest.approx(25)
    assert (info.audio_rate_hz, info.channels) == (44_100, 2)
    assert (info.video_codec, info.audio_codec) == ("h264", "aac")
    assert (info.start_s, info.end_s) == (0.0, pytest.approx(2.0))
    assert info.apart_s == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_encoder_delay_of_the_sound_does_not_count_as_time(tmp_path, name):
    path = make_clip(tmp_path / name, audio=click_audio(1, 0.5, 16_000))
    assert probe(path).audio_start_s == 0.0
    assert probe(path).audio_end_s == pytest.approx(1.0, abs=0.065)  # one AAC frame


def test_span_is_the_overlap_of_both_streams(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4", pictures=flash_pictures(50, 25), audio=click_audio(1.2, 0.5, 16_000),
        audio_delay_s=0.4,
    )  # fmt: skip
    info = probe(path)
    assert info.start_s == pytest.approx(0.4, abs=0.07)
    assert info.end_s == pytest.approx(1.6, abs=0.07)
    assert info.apart_s == pytest.approx(0.4, abs=0.07)


def test_missing_streams_are_not_an_error(tmp_path):
    sound = probe(make_clip(tmp_path / "s.mp4", audio=click_audio(1, 0.5, 16_000)))
    assert (sound.has_video, sound.has_audio, sound.width) == (False, True, 0)
    sight = probe(make_clip(tmp_path / "v.mp4", pictures=flash_pictures(5, 1)))
    assert (sight.has_video, sight.has_audio, sight.channels) == (True, False, 0)


def test_file_of_unknown_streams_has_neither(clip):
    content = clip.read_bytes()
    for known in (b"vide\0", b"soun\0"):
        content = content.replace(known, b"zzzz\0")
    for known in (b"avc1", b"mp4a"):
        place = content.index(known, content.index(b"stsd"))
        content = content[:place] + b"zzzz" + content[place + 4 :]
    clip.write_bytes(content)
    with av.open(str(clip)) as container:
        assert [p for p in container.demux() if p.size]  # there is something to be confused by
    info = probe(clip)
    assert (info.has_video, info.has_audio, info.end_s) == (False, False, 0.0)


def test_cover_picture_is_not_a_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(flash_pictures(1, 0)[0], format="rgb24")
        for packet in [*cover.encode(picture), *cover.encode(None)]:
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            click_audio(1, 0.5, 16_000).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = 16_000
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            container.mux(packet)
    with av.open(str(path)) as container:
        assert container.streams.video  # the cover is there
    info = probe(path)
    assert (info.has_video, info.has_audio) == (False, True)
    with pytest.raises(ItemError) as caught:
        next(read_frames(path, 0.0, 1))
    assert caught.value.reason is Reason.NO_VIDEO


@pytest.mark.parametrize(
    "content", [b"", b"hello" * 100, bytes(5_000), b"\x00\x00\x00\x18ftypmp42"]
)
def test_files_that_are_not_media_are_undecodable(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert reason_of(tmp_path / "a.mp4") is Reason.UNDECODABLE


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason_of(tmp_path / "pipe.mp4") is Reason.UNREADABLE
    assert reason_of(tmp_path) is Reason.UNREADABLE
    assert reason_of(tmp_path / "nothing.mp4") is Reason.FILE_MISSING


def test_playlists_and_scripts_cannot_make_it_open_other_files(tmp_path, clip):
    stream = make_clip(tmp_path / "b.ts", pictures=flash_pictures(25, 5))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1.0,\n{stream}\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    (tmp_path / "list.mp4").write_text(playlist)
    (tmp_path / "script.ffconcat").write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    # Without our options FFmpeg follows the playlist:
    with av.open(str(tmp_path / "list.m3u8")) as container:
        assert container.streams.video
    for name in ("list.m3u8", "list.mp4", "script.ffconcat"):
        assert reason_of(tmp_path / name) is Reason.UNDECODABLE


def test_names_with_a_protocol_are_plain_names(tmp_path, monkeypatch, clip):
    monkeypatch.chdir(tmp_path)
    for name in ("http:a.mp4", "concat:a.mp4|a.mp4", "-a.mp4", "a%03d.mp4", "ü ö.mp4"):
        target = tmp_path / name
        target.write_bytes(clip.read_bytes())
        assert probe(type(clip)(name)).num_pictures == 50


def test_absurd_sizes_are_refused(tmp_path, monkeypatch):
    wide = [np.zeros((16, 8_200, 3), np.uint8)] * 2
    path = make_clip(tmp_path / "wide.mp4", pictures=wide)
    assert reason_of(path) is Reason.UNDECODABLE
    with pytest.raises(ItemError, match="at most 8192"):
        next(read_frames(path, 0.0, 1))
    long = make_clip(tmp_path / "l.mp4", pictures=numbered_pictures(2), times_s=[0.0, 15_000.0])
    assert reason_of(long) is Reason.TOO_LONG
    monkeypatch.setattr(containers, "MAX_DURATION_S", 1.0)
    assert reason_of(make_clip(tmp_path / "n.mp4", pictures=numbered_pictures(50))) is (
        Reason.TOO_LONG
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_random_damage_ends_in_a_result_or_an_item_error(tmp_path, name):
    """Whatever the bytes are: the right shapes come back, or one of our own errors."""
    path = make_clip(
        tmp_path / name, pictures=flash_pictures(20, 5), audio=click_audio(0.8, 0.4, 16_000)
    )
    content = path.read_bytes()
    ends = {"result": 0, "error": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        damaged = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(0, len(damaged), 2 ** (seed % 9))
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged[: len(damaged) - int(rng.integers(0, 2)) * seed * 10].tobytes())
        try:
            info = probe(path)
            assert info.fps >= 0
            frames = list(read_frames(path, 0.0, 20))
            assert len({frame.shape for frame in frames}) == 1
            assert len(frames) == 20
            assert read_audio(path, 0.0, 12_800).shape == (12_800,)
            ends["result"] += 1
        except ItemError:
            ends["error"] += 1
    assert min(ends.values()) > 0, ends


@pytest.mark.parametrize("gop", ["250", "5"])
def test_sampled_pictures_are_those_of_their_moments(tmp_path, gop):
    pictures = [np.full((64, 64, 3), 40 + 4 * index, np.uint8) for index in range(50)]
    path = make_clip(tmp_path / "a.mp4", pictures=pictures, video_options={"g": gop})
    info = probe(path)
    times_s = spread_times(info.video_start_s, info.video_end_s, 5)
    assert times_s == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8])
    found = sample_grey(path, times_s, info.key_times_s).mean(axis=(1, 2))
    # At most a few pictures later than asked for, where only some are decoded.
    expected = np.array([60, 100, 140, 180, 220])
    assert ((found >= expected - 6) & (found <= expected + 18)).all(), found


def two_tracks(tmp_path, *, unknown: tuple[bytes, bytes] | None, best: str) -> tuple:
    """A clip with a plain first track and a second one with a higher bit rate.

    The second one gets another codec tag, which nobody knows, or nonsense for packets.
    """
    path = tmp_path / f"{best}.mp4"
    with av.open(str(path), "w") as writer:
        pictures = [writer.add_stream("libx264", rate=25) for _ in range(1 + (best == "video"))]
        sounds = [
            writer.add_stream("aac", rate=48_000, layout="mono")
            for _ in range(1 + (best == "audio"))
        ]
        for stream in [*pictures, *sounds]:
            stream.disposition = av.stream.Disposition.default  # as phones do
        for number, stream in enumerate(pictures):
            stream.width = stream.height = 64 * (1 + number)
            stream.pix_fmt = "yuv420p"
        for number, stream in enumerate(sounds):
            stream.codec_context.bit_rate = 64_000 * (1 + 3 * number)
        for stream in pictures:
            rng = np.random.default_rng(0)
            for _ in range(50):
                noise = rng.integers(0, 255, (stream.height, stream.width, 3), dtype=np.uint8)
                writer.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
            writer.mux(stream.encode(None))
        for stream in sounds:
            sound = click_audio(2.0, 1.0, 48_000).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
            frame.sample_rate = 48_000
            writer.mux([*stream.encode(frame), *stream.encode(None)])
    content = bytearray(path.read_bytes())
    if unknown is not None:
        place = content.rindex(unknown[0])
        content[place : place + 4] = unknown[1]
    else:
        with av.open(str(path)) as container:
            stream = container.streams.get({best: 1})[0]
            places = [(p.pos, p.size) for p in container.demux(stream) if p.size]
        for place, size in places:
            content[place : place + size] = bytes([0xA5]) * size
    path.write_bytes(content)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("best", "unknown"),
    [
        ("audio", (b"mp4a", b"apac")),
        ("audio", None),
        ("video", (b"avc1", b"zzzz")),
        ("video", None),
    ],
)
def test_track_that_can_be_decoded_is_chosen(tmp_path, best, unknown):
    path = two_tracks(tmp_path, best=best, unknown=unknown)
    info = probe(path)
    assert (info.has_video, info.has_audio, info.width) == (True, True, 64)
    assert len(list(read_frames(path, 0.0, 40))) == 40
    assert click_time(read_audio(path, info.start_s, 32_000)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_better_track_wins_where_both_can_be_decoded(tmp_path):
    path = two_tracks(tmp_path, best="video", unknown=(b"avc1", b"avc1"))
    assert probe(path).width == 128
