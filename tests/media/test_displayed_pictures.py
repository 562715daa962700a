"""Pictures as they are displayed: upright, not mirrored, square pixels, right colours."""

import struct
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from avsep.media.decode import read_frames
from avsep.media.ffmpeg import binary
from avsep.media.probe import probe
from tests.support.clip_maker import (
    flash_pictures,
    make_clip,
)


def set_rotation(path, matrix: tuple[int, ...]) -> None:
    content = bytearray(path.read_bytes())
    first = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    content[first : first + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)


ONE = 1 << 16


@pytest.mark.parametrize(
    ("degrees", "matrix", "corner"),
    [
        (0, (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), (0, 0)),
        (270, (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), (0, -1)),
        (180, (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), (-1, -1)),
        (90, (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), (-1, 0)),
    ],
)
def test_rotation_of_the_file_is_applied(tmp_path, degrees, matrix, corner):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24, :48] = (250, 0, 0)  # the upper left quarter is red
    path = make_clip(tmp_path / "a.mp4", pictures=[picture] * 3)
    set_rotation(path, matrix)
    info = probe(path)
    assert info.rotation == degrees
    assert (info.width, info.height) == ((96, 48) if degrees % 180 == 0 else (48, 96))
    (frame, *_) = read_frames(path, 0.0, 2)
    assert frame.shape == (info.height, info.width, 3)
    assert frame[corner][0] > 200
    assert (frame[..., 0] > 150).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("matrix", "corner", "size"),
    [
        ((-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), (0, -1), (96, 48)),  # left and right
        ((ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), (-1, 0), (96, 48)),  # top and bottom
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), (0, 0), (48, 96)),  # about a diagonal
        ((0, -ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), (-1, -1), (48, 96)),  # about the other one
    ],
)
def test_mirroring_of_the_file_is_applied(tmp_path, matrix, corner, size):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24, :48] = (250, 0, 0)  # the upper left quarter is red
    picture[:24, 48:] = (0, 0, 250)  # the upper right one is blue
    path = make_clip(tmp_path / "a.mp4", pictures=[picture] * 3)
    set_rotation(path, matrix)
    assert (probe(path).width, probe(path).height) == size
    (frame, *_) = read_frames(path, 0.0, 2)
    assert frame.shape == (size[1], size[0], 3)
    assert frame[corner][0] > 200
    # Where the blue corner goes, from the matrix: x is shown along (a, b).
    a, b = matrix[0], matrix[1]
    down, right = corner
    blue = (down, -1 if a > 0 else 0) if a else (-1 if b > 0 else 0, right)
    assert frame[blue][2] > 200


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_mirroring_that_ffmpeg_writes_is_applied(tmp_path, suffix):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:24, :48] = (250, 0, 0)
    whole = make_clip(tmp_path / "a.mp4", pictures=[picture] * 3)
    for flips, corner in ((["-display_hflip"], (0, -1)), (["-display_vflip"], (-1, 0))):
        path = tmp_path / f"{flips[0]}.{suffix}"
        command = [binary(), "-v", "error", *flips, "-i", str(whole), "-c", "copy", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        assert next(read_frames(path, 0.0, 1))[corner][0] > 200, path


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = make_clip(
        tmp_path / "a.mp4", pictures=flash_pictures(3, 9), sample_aspect_ratio=Fraction(3, 2)
    )
    assert (probe(path).width, probe(path).height) == (96, 64)
    assert next(read_frames(path, 0.0, 1)).shape == (64, 96, 3)


def test_colours_are_right(tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (255, 255, 255)]
    pictures = [np.full((64, 64, 3), colour, np.uint8) for colour in colours]
    path = make_clip(tmp_path / "a.mp4", pictures=pictures, video_options={"crf": "1"})
    for frame, colour in zip(read_frames(path, 0.0, 5), colours, strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 4
