"""Files that PyAV cannot read straight go through ffmpeg once; ordinary ones do not."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from avsep.cleaning.check_clip import check_clip
from avsep.cleaning.config import Thresholds
from avsep.errors import ItemError, Reason
from avsep.extraction.clip import encoded_samples
from avsep.extraction.config import ExtractionConfig
from avsep.media import normalise
from avsep.media.decode import read_frames
from avsep.media.normalise import readable
from avsep.media.probe import probe
from tests.media.test_joined_time_lines import check_marks, glue, marks, part
from tests.support.clip_maker import click_audio, flash_pictures, make_clip, moving_pictures

from tests.support.clip_maker import raw_clip, speech_like  # isort: skip

FRAGMENTS = {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
KINDS = {
    ".flv": {"audio_codec": "aac"},
    ".mkv": {},
    ".mp4": {},
    ".webm": {"video_codec": "libvpx", "audio_codec": "libopus", "video_options": {"g": "25"}},
    ".avi": {"video_codec": "mpeg4", "audio_codec": "libmp3lame", "video_options": {"g": "25"}},
    ".ogv": {"video_codec": "libvpx", "audio_codec": "libopus", "video_options": {"g": "25"}},
    ".wmv": {"video_codec": "wmv2", "audio_codec": "libmp3lame", "video_options": {"g": "25"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", KINDS)
def test_files_written_one_after_the_other_are_read_to_the_end(tmp_path, suffix):
    parts = [part(tmp_path / f"{m}{suffix}", m, **KINDS[suffix]) for m in (2.0, 1.0, 1.6)]
    path = glue(tmp_path / f"three{suffix}", *parts)
    with readable(path, tmp_path) as source:
        assert source.note == "it holds 3 files one after the other"
        assert source.path.name == path.name
        check_marks(source.path, 3, 9.0)
        temporary = source.path.parent
    assert not temporary.exists()


@pytest.mark.slow
def test_fragments_whose_clock_starts_again_are_joined(tmp_path):
    parts = [part(tmp_path / f"{m}.mp4", m, **FRAGMENTS) for m in (2.0, 1.0)]
    with readable(glue(tmp_path / "j.mp4", *parts)) as source:
        check_marks(source.path, 2, 6.0)


@pytest.mark.slow
def test_parts_of_other_sizes_and_rates_have_the_largest_pictures(tmp_path):
    small = part(tmp_path / "a.flv", 2.0, audio_codec="aac")
    large = make_clip(
        tmp_path / "b.flv", pictures=flash_pictures(75, 40, (98, 130)),
        audio=click_audio(3.0, 1.6, 22_050, 2), rate_hz=22_050,
    )  # fmt: skip
    with readable(glue(tmp_path / "j.flv", small, large)) as source:
        info = probe(source.path)
        assert (info.width, info.height) == (130, 98)
        flashes, clicks = marks(source.path)
        assert flashes == pytest.approx(clicks, abs=0.045)
        assert len(flashes) == 2


def in_decoding_order(path, target):
    """Copy a clip with the stamps that a muxer writes which knows nothing of reordered pictures."""
    with av.open(str(path)) as source, av.open(str(target), "w") as copy:
        streams = {s.index: copy.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.pts = packet.dts = packet.dts + round(0.08 / packet.time_base)
            packet.stream = streams[packet.stream.index]
            copy.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.slow
def test_pictures_with_the_stamps_of_decoding_are_put_in_order(tmp_path, suffix):
    whole = part(tmp_path / "w.mkv", 2.0, sound_s=4.0, picture_s=4.0)
    with readable(in_decoding_order(whole, tmp_path / f"odd{suffix}")) as source:
        assert source.note == "its pictures have the time stamps of another order"
        flashes, clicks = marks(source.path)
        assert len(flashes) == 1
        assert flashes == pytest.approx(clicks, abs=0.09)  # ffmpeg knows the order, not the delay


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("b.mp4", FRAGMENTS),
        ("c.mkv", {}),
        ("d.avi", KINDS[".avi"]),
        ("e.ts", {}),
        ("f.mp4", {"video_options": {"bf": "0", "g": "25"}}),
        ("g.mkv", {"video_options": {"tune": "zerolatency"}}),
    ],
)
def test_ordinary_files_are_not_touched(tmp_path, monkeypatch, name, options):
    path = part(tmp_path / name, 1.0, **options)
    monkeypatch.setattr(normalise, "remake", None)
    with readable(path) as source:
        assert source == normalise.Readable(path=path)


def test_what_ffmpeg_cannot_read_either_is_said_as_before(tmp_path, monkeypatch):
    broken = part(tmp_path / "a.flv", 2.0, audio_codec="aac")
    path = tmp_path / "j.flv"
    path.write_bytes(broken.read_bytes() + broken.read_bytes()[:13] + b"\xa5" * 20_000)
    with readable(path) as source:
        assert source.path == path
        with pytest.raises(ItemError, match="can be read"):
            probe(source.path)
    joined = glue(tmp_path / "k.flv", broken, broken)

    def late(*_args, **_options):
        raise ItemError(Reason.TIMED_OUT, "ffmpeg took more than 600 s.")

    monkeypatch.setattr(normalise, "remake", late)
    with pytest.raises(ItemError, match="took more"), readable(joined):
        pass


def test_a_joined_raw_clip_is_kept_and_the_row_says_that_it_was_normalised(tmp_path):
    parts = [
        make_clip(
            tmp_path / f"{seed}.mp4", pictures=moving_pictures(50, seed=seed),
            audio=speech_like(2.0, seed=seed),
        )
        for seed in (1, 2)
    ]  # fmt: skip
    path = glue(tmp_path / "joined.mp4", *parts)
    checked = check_clip(raw_clip(path), tmp_path, Thresholds(min_duration_s=3.0)).clip
    assert checked.kept, checked.message
    assert checked.message.startswith("it was normalised with ffmpeg: it holds 2 files")
    assert checked.end_s - checked.start_s == pytest.approx(4.0, abs=0.1)


@pytest.mark.slow
def test_extraction_decodes_what_clean_has_measured(tmp_path, monkeypatch):
    parts = [part(tmp_path / f"{m}.mp4", m) for m in (2.0, 1.0)]
    path = glue(tmp_path / "joined.mp4", *parts)
    decoded = []

    def samples(source, *_args):
        decoded.append((source, probe(source).end_s))
        return []

    monkeypatch.setattr("avsep.extraction.clip.clip_samples", samples)
    encoded_samples(path, None, ExtractionConfig())
    ((source, end_s),) = decoded
    assert end_s == pytest.approx(6.0, abs=0.1)
    assert source != path
    assert not source.exists()


def test_what_ffmpeg_suffered_does_not_drop_a_joined_clip(tmp_path, monkeypatch):
    one = part(tmp_path / "a.flv", 2.0, audio_codec="aac")
    joined = glue(tmp_path / "j.flv", one, one)
    for reason in (Reason.OUT_OF_SPACE, Reason.WORKER_DIED):

        def fails(*_args, _reason=reason, **_options):
            raise ItemError(_reason, "no.")

        monkeypatch.setattr(normalise, "remake", fails)
        with pytest.raises(ItemError) as caught, readable(joined):
            pass
        assert caught.value.reason is reason


def test_pictures_that_ffmpeg_cannot_put_in_order_are_not_shown_out_of_order(tmp_path, monkeypatch):
    whole = part(tmp_path / "w.mkv", 2.0, sound_s=4.0, picture_s=4.0)

    def fails(*_args, **_options):
        raise ItemError(Reason.UNDECODABLE, "ffmpeg ended with 1.")

    monkeypatch.setattr(normalise, "remake", fails)
    path = in_decoding_order(whole, tmp_path / "odd.mkv")
    with (
        pytest.raises(ItemError, match="order, and ffmpeg ended with 1"),
        readable(path),
    ):
        pass


@pytest.mark.slow
def test_odd_pictures_with_the_stamps_of_decoding_are_put_in_order(tmp_path):
    whole = make_clip(
        tmp_path / "w.mkv", pictures=flash_pictures(100, 50, (49, 65)), pixel_format="yuv444p",
        video_options={"g": "25", "bf": "2"}, audio=click_audio(4.0, 2.0, 16_000),
    )  # fmt: skip
    with readable(in_decoding_order(whole, tmp_path / "odd.mkv")) as source:
        assert source.note
        assert (probe(source.path).width, probe(source.path).height) == (66, 50)
        flashes, clicks = marks(source.path)
        assert flashes == pytest.approx(clicks, abs=0.09)


@pytest.mark.slow
def test_glued_parts_with_wide_pixels_keep_their_shape(tmp_path):
    parts = []
    for number, aspect in enumerate((Fraction(2), Fraction(1, 2), None)):
        picture = np.full((96, 96, 3), 30, np.uint8)
        cv2.circle(picture, (48, 48), 32, (230, 230, 230), -1)
        parts.append(
            make_clip(
                tmp_path / f"{number}.flv", pictures=[picture] * 25, sample_aspect_ratio=aspect,
                audio=click_audio(1.0, 0.5, 44_100), rate_hz=44_100,
            )
        )  # fmt: skip
    with readable(glue(tmp_path / "j.flv", *parts)) as source:
        frames = list(read_frames(source.path, 0.0, 75))
    for index, wanted in ((12, 2.0), (37, 0.5), (62, 1.0)):
        bright = frames[index].mean(axis=2) > 130
        width, height = (np.ptp(np.flatnonzero(bright.any(axis=axis))) + 1 for axis in (0, 1))
        assert width / height == pytest.approx(wanted, rel=0.06), index


def test_joined_parts_that_are_too_long_together_are_refused_and_not_cut(tmp_path, monkeypatch):
    for module in ("container", "survey", "ffmpeg"):
        monkeypatch.setattr(f"avsep.media.{module}.MAX_DURATION_S", 5.0)
    one = part(tmp_path / "a.mp4", 2.0, video_options={"bf": "0"})
    with pytest.raises(ItemError) as caught, readable(glue(tmp_path / "j.mp4", one, one)):
        pass
    assert caught.value.reason is Reason.TOO_LONG
