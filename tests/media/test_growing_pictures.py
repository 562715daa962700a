"""Pictures whose size changes within a stream, as calls over a network have them."""

import numpy as np
import pytest

from avsep.faces.pictures import ArrayPicture
from avsep.media.decode import read_frames, read_pictures
from avsep.media.probe import probe
from tests.support.clip_maker import make_clip


def quarter(width: int, height: int) -> np.ndarray:
    """A grey picture whose upper left quarter is red."""
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[: height // 2, : width // 2] = (230, 20, 20)
    return picture


def grown(tmp_path, suffix: str, codec: str, parts: list[tuple[int, int, int]]):
    """One stream of parts of (width, height, number of pictures)."""
    files = [
        make_clip(
            tmp_path / f"{number}.{suffix}",
            pictures=[quarter(width, height)] * count,
            video_codec=codec,
            video_options={"g": "10", "bf": "0"} if codec == "libx264" else {"g": "10"},
        )
        for number, (width, height, count) in enumerate(parts)
    ]
    path = tmp_path / f"grown.{suffix}"
    path.write_bytes(b"".join(file.read_bytes() for file in files))
    return path


RAMP = [(80, 48, 15), (160, 96, 15), (320, 192, 60)]


@pytest.mark.parametrize(
    "parts",
    [RAMP, RAMP[::-1], [(80, 48, 15), (320, 192, 60)], [(320, 192, 60), (80, 48, 15)]],
)
@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("ts", "mpeg2video")])
def test_pictures_have_the_largest_size_of_the_stream(tmp_path, parts, suffix, codec):
    path = grown(tmp_path, suffix, codec, parts)
    info = probe(path)
    assert (info.width, info.height) == (320, 192)
    count = sum(part[2] for part in parts)
    frames = list(read_frames(path, info.start_s, count))
    assert {frame.shape for frame in frames} == {(192, 320, 3)}
    for frame in frames:
        assert frame[40, 60, 0] > 180
        assert frame[150, 250, 0] < 120


def test_pictures_that_are_turned_on_the_way_keep_their_shape(tmp_path):
    path = grown(tmp_path, "ts", "libx264", [(320, 192, 40), (96, 160, 40)])
    info = probe(path)
    assert (info.width, info.height) == (320, 192)
    frames = list(read_frames(path, info.start_s, 80))
    upright = frames[70]
    columns = np.flatnonzero(upright.max(axis=(0, 2)) > 40)
    # 96 x 160 in 320 x 192: 115 wide, in the middle.
    assert columns[-1] - columns[0] == pytest.approx(115, abs=3)
    assert columns[0] + columns[-1] == pytest.approx(319, abs=3)


def test_one_size_is_not_scaled(tmp_path):
    path = grown(tmp_path, "ts", "libx264", [(160, 96, 30), (160, 96, 30)])
    assert (probe(path).width, probe(path).height) == (160, 96)


def test_samples_show_the_black_bars_too(tmp_path):
    path = grown(tmp_path, "ts", "libx264", [(320, 192, 40), (96, 160, 40)])
    pictures = list(read_pictures(path, probe(path).start_s, 80))
    for picture in (pictures[5], pictures[70]):
        expected = ArrayPicture(picture.rgb()).samples(48).astype(int)
        assert np.abs(picture.samples(48).astype(int) - expected).mean() < 5
