import av
import numpy as np
import pytest

from avsep.media.decode import read_audio, read_frames
from avsep.media.encode import write_mp4
from avsep.media.probe import probe

FRAMES, RATE_HZ = 30, 16_000


def black(height=48, width=64) -> list[np.ndarray]:
    return [np.zeros((height, width, 3), np.uint8) for _ in range(FRAMES)]


def noise(seed=0) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(FRAMES)]
    return frames, rng.integers(-3000, 3000, FRAMES * 640).astype(np.int16)


@pytest.fixture
def flashed(tmp_path):
    """A flash and a click that begin together at frame 12."""
    frames, audio = black(), np.zeros(FRAMES * 640, np.int16)
    frames[12][:] = 255
    audio[12 * 640 : 12 * 640 + 32] = 20_000
    write_mp4(tmp_path / "flash.mp4", frames, audio)
    return tmp_path / "flash.mp4"


def test_click_and_flash_stay_together_for_a_reader_by_presentation_time(flashed):
    sound = read_audio(flashed, 0.0, FRAMES * 640)
    light = [frame.mean() for frame in read_frames(flashed, 0.0, FRAMES)]
    assert int(np.argmax(light)) == 12
    assert abs(int(np.argmax(np.abs(sound))) - 12 * 640) < 40
    # The rest is silent and dark.
    assert np.abs(sound[: 12 * 640 - 600]).max() < 500
    assert max(light[:12] + light[13:]) < 10


def test_plain_pyav_gets_the_sound_in_place_by_pts(flashed):
    with av.open(str(flashed)) as container:
        blocks = [(f.pts * f.time_base, f.to_ndarray()[0]) for f in container.decode(audio=0)]
    loudest = max(blocks, key=lambda block: np.abs(block[1]).max())
    at_s = float(loudest[0]) + np.argmax(np.abs(loudest[1])) / RATE_HZ
    assert at_s == pytest.approx(12 / 25, abs=0.003)


def test_both_streams_start_at_zero_and_end_together(flashed):
    info = probe(flashed)
    assert (info.video_start_s, info.audio_start_s) == (0.0, 0.0)
    assert info.video_end_s == pytest.approx(FRAMES / 25, abs=1e-6)
    assert info.audio_end_s == pytest.approx(FRAMES / 25, abs=1024 / RATE_HZ)
    assert (info.fps, info.audio_rate_hz, info.channels) == (25, RATE_HZ, 1)


def test_same_input_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_mp4(tmp_path / f"{name}.mp4", *noise())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_colours_survive_and_are_tagged(tmp_path):
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (255, 255, 255)]
    frames = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    write_mp4(tmp_path / "c.mp4", frames, None, crf=10)
    with av.open(str(tmp_path / "c.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace) == (1, 6)
        assert context.pix_fmt == "yuv420p"
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    for colour, frame in zip(colours, decoded, strict=True):
        np.testing.assert_allclose(frame.mean((0, 1)), colour, atol=4)


def test_a_file_without_sound_has_one_stream(tmp_path):
    write_mp4(tmp_path / "silent.mp4", iter(black()), None)
    assert not probe(tmp_path / "silent.mp4").has_audio


def test_sound_longer_or_shorter_than_the_picture_is_kept(tmp_path):
    frames, audio = noise()
    for samples in (8_000, 24_000):
        write_mp4(tmp_path / "s.mp4", frames, np.resize(audio, samples))
        assert probe(tmp_path / "s.mp4").audio_end_s == pytest.approx(samples / RATE_HZ, abs=0.07)


@pytest.mark.parametrize(
    ("frames", "audio", "sentence"),
    [
        ([], None, "no frames"),
        ([np.zeros((31, 32, 3), np.uint8)], None, "even"),
        ([np.zeros((32, 32), np.uint8)], None, r"\(H, W, 3\)"),
        ([np.zeros((32, 32, 3), np.float32)], None, "uint8"),
        ([np.zeros((32, 32, 3), np.uint8)], np.zeros((2, 9), np.int16), "one-dimensional"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)], None, "frame 1"),
    ],
)
def test_what_cannot_be_encoded_is_refused_and_leaves_no_file(tmp_path, frames, audio, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_mp4(tmp_path / "x.mp4", frames, audio)
    assert list(tmp_path.iterdir()) == []
