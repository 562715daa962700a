"""Members: what goes in comes out, the bytes are the same each time, and damage is noticed."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import av
import numpy as np
import pytest

from avsep.media import pcm
from avsep.schema import TURNED
from avsep.shards import codecs, landmarks, lips


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(float) - other) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def read_as_anyone(content: bytes) -> np.ndarray:
    """What a reader gets who knows nothing of ranges: PyAV's own conversion to grey."""
    with av.open(io.BytesIO(content)) as container:
        return np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])


@pytest.fixture(scope="module")
def mouth(make_sample):
    return make_sample(frames=60, seed=4).lips


@pytest.fixture(scope="module")
def video(mouth):
    return lips.encode_mp4(mouth)


class TestLips:
    def test_decoded_video_is_within_42_db_of_the_input(self, mouth, video):
        decoded = lips.decode_mp4(video)
        assert decoded.shape == mouth.shape
        assert psnr(decoded, mouth) >= 42

    def test_a_reader_who_knows_nothing_of_ranges_gets_the_same(self, mouth, video):
        np.testing.assert_array_equal(read_as_anyone(video), lips.decode_mp4(video))

    def test_without_the_full_range_tag_ten_db_would_be_lost(self, mouth, monkeypatch):
        monkeypatch.setattr(lips, "FULL_RANGE", 1)  # the tag of limited range
        limited = lips.encode_mp4(mouth)
        monkeypatch.undo()
        assert psnr(read_as_anyone(limited), mouth) < 36
        with pytest.raises(ValueError, match="full range"):
            lips.decode_mp4(limited)

    def test_the_stream_is_what_the_format_promises(self, video, mouth):
        with av.open(io.BytesIO(video)) as container:
            assert not container.streams.audio
            stream = container.streams.video[0]
            assert stream.codec_context.profile == "High"
            assert stream.average_rate == 25
            assert (stream.width, stream.height) == (96, 96)
            frames = list(container.decode(stream))
        assert [f.pts * f.time_base * 25 for f in frames] == list(range(len(mouth)))
        assert {int(f.pict_type) for f in frames} == {1, 2}  # I and P, no B
        assert [i for i, f in enumerate(frames) if f.key_frame] == [0, 25, 50]

    @pytest.mark.parametrize("count", [1, 2, 26])
    def test_each_frame_comes_back(self, mouth, count):
        assert len(lips.decode_mp4(lips.encode_mp4(mouth[:count]))) == count

    def test_bytes_are_the_same_each_time(self, mouth, video):
        assert lips.encode_mp4(mouth) == video

    def test_quality_is_chosen_by_crf(self, mouth, video):
        assert len(lips.encode_mp4(mouth, crf=28)) < 0.6 * len(video)

    def test_npy_is_exact_and_read_by_numpy(self, mouth):
        content = lips.encode_npy(mouth)
        np.testing.assert_array_equal(np.load(io.BytesIO(content), allow_pickle=False), mouth)
        np.testing.assert_array_equal(lips.decode_npy(content), mouth)

    @pytest.mark.parametrize("decode", [lips.decode_mp4, lips.decode_npy])
    def test_damage_is_a_value_error(self, decode, mouth, video):
        content = video if decode is lips.decode_mp4 else lips.encode_npy(mouth)
        for broken in (b"", b"nonsense", content[: len(content) // 2]):
            with pytest.raises(ValueError):  # noqa: PT011
                decode(broken)

    def test_pickles_are_refused(self):
        buffer = io.BytesIO()
        np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
        with pytest.raises(ValueError, match="Object arrays"):
            lips.decode_npy(buffer.getvalue())

    def test_pictures_of_another_size_are_refused(self, mouth):
        with pytest.raises(ValueError, match="96, 96"):
            lips.encode_mp4(mouth[:, :88, :88])


@pytest.mark.parametrize(
    ("encode", "decode"),
    [(pcm.encode_flac, pcm.decode_flac), (pcm.encode_wav, pcm.decode_wav)],
)
class TestAudio:
    def test_samples_are_exact_and_bytes_the_same(self, encode, decode):
        sound = np.array([0, 1, -1, 32767, -32768, 5] * 640, np.int16)
        np.testing.assert_array_equal(decode(encode(sound)), sound)
        assert encode(sound) == encode(sound.copy())

    def test_damage_is_a_value_error(self, encode, decode):
        content = encode(np.arange(6400, dtype=np.int16))
        for broken in (b"", b"nonsense", content[: len(content) // 2]):
            with pytest.raises(ValueError):  # noqa: PT011
                decode(broken)

    def test_other_types_are_refused(self, encode, decode):
        with pytest.raises(ValueError, match="int16"):
            encode(np.zeros(640, np.float32))


class TestLandmarks:
    def test_arrays_come_back_and_numpy_reads_them(self, make_sample):
        original = make_sample().landmarks
        content = landmarks.encode_npz(original)
        decoded = landmarks.decode_npz(content)
        for attribute, (name, _, _) in landmarks.FIELDS.items():
            expected = getattr(original, attribute)
            np.testing.assert_array_equal(getattr(decoded, attribute), expected)
            assert getattr(decoded, attribute).dtype == expected.dtype
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                np.testing.assert_array_equal(archive[name], expected)

    def test_crops_in_whole_pixels_of_version_1_are_read(self, make_sample, monkeypatch):
        original = make_sample().landmarks
        corners = np.full((len(original.valid), 2), 81, np.int16)
        fields = landmarks.FIELDS | {"crop_xy": ("crop_xy", np.int16, (2,))}
        with monkeypatch.context() as before:
            before.setattr(landmarks, "FIELDS", fields)
            content = landmarks.encode_npz(replace(original, crop_xy=corners))
        decoded = landmarks.decode_npz(content)
        assert decoded.crop_xy.dtype == np.float32
        np.testing.assert_array_equal(decoded.crop_xy, corners)

    def test_marks_of_turned_heads_are_kept_and_unknown_marks_refused(self, make_sample):
        original = make_sample().landmarks
        marks = np.full_like(original.valid, TURNED)
        decoded = landmarks.decode_npz(landmarks.encode_npz(replace(original, valid=marks)))
        np.testing.assert_array_equal(decoded.valid, marks)
        with pytest.raises(ValueError, match="valid holds a value other than"):
            landmarks.encode_npz(replace(original, valid=marks + 1))

    def test_bytes_hold_no_time(self, make_sample):
        content = landmarks.encode_npz(make_sample().landmarks)
        infos = zipfile.ZipFile(io.BytesIO(content)).infolist()
        assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
        assert landmarks.encode_npz(make_sample().landmarks) == content

    def test_values_that_are_not_finite_are_refused(self, make_sample):
        original = make_sample().landmarks
        points = original.points.copy()
        points[3, 5, 1] = np.inf
        with pytest.raises(ValueError, match="pts holds a value that is not finite"):
            landmarks.encode_npz(replace(original, points=points))

    def test_damage_is_a_value_error(self, make_sample):
        content = landmarks.encode_npz(make_sample().landmarks)
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        for broken in (b"", b"nonsense", content[:middle], flipped):
            with pytest.raises(ValueError):  # noqa: PT011
                landmarks.decode_npz(broken)

    def test_a_zip_bomb_is_refused_before_it_is_unpacked(self, monkeypatch, make_sample):
        monkeypatch.setattr(landmarks, "MAX_BYTES", 1000)
        with pytest.raises(ValueError, match="more than 1000 bytes"):
            landmarks.decode_npz(landmarks.encode_npz(make_sample().landmarks))


@pytest.mark.parametrize("storage", ["compact", "plain"])
class TestSample:
    def test_comes_back_whole(self, storage, make_sample):
        sample = make_sample()
        members = codecs.encode_sample(sample, storage)
        assert tuple(members) == codecs.MEMBERS[storage]
        decoded = codecs.decode_sample(sample.key, members, storage)
        np.testing.assert_array_equal(decoded.audio, sample.audio)
        assert decoded.meta == sample.meta
        assert psnr(decoded.lips, sample.lips) >= 42

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"audio": np.zeros(639, np.int16)}, "639 samples of sound for 12 frames"),
            ({"lips": np.zeros((11, 96, 96), np.uint8)}, "11 lips, 12 landmarks"),
            ({"key": "with.dot"}, "is not an id"),
            ({"key": "clip-b-t0"}, "meta says key is 'clip-a-t0'"),
            ({"audio": np.ones(12 * 640, np.int16)}, "meta says audio_sha256"),
            ({"meta": {}}, "meta lacks audio_sha256"),
        ],
    )
    def test_parts_that_do_not_fit_are_refused(self, storage, make_sample, change, sentence):
        with pytest.raises(ValueError, match=sentence):
            codecs.encode_sample(replace(make_sample(), **change), storage)

    def test_half_a_sample_is_refused(self, storage, make_sample):
        members = codecs.encode_sample(make_sample(), storage)
        members.pop("lmk.npz")
        with pytest.raises(ValueError, match=r"lacks the member\(s\) lmk.npz"):
            codecs.decode_sample("clip-a-t0", members, storage)


def test_json_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        codecs.encode_json({"a": float("nan")})
