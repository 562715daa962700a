"""Pictures are only converted to RGB where a face is searched or tracked, with the same result."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from avsep.faces.config import FacesConfig
from avsep.faces.cuts import CutDetector, distance, summary
from avsep.faces.extraction import track_faces
from avsep.faces.pictures import ArrayPicture
from avsep.media.decode import read_frames, read_pictures
from avsep.media.ffmpeg import binary
from tests.support.clip_maker import make_clip
from tests.support.face_scene import ColourBackend, Pose, background, draw

SIZE = (320, 240)
SHORT = FacesConfig(min_track_frames=5)


class CountedPicture(ArrayPicture):
    """Counts in `converted` how often its pixels are asked for."""

    def __init__(self, pixels: np.ndarray, converted: list[int], index: int) -> None:
        super().__init__(pixels)
        self._converted, self._index = converted, index

    def rgb(self) -> np.ndarray:
        self._converted.append(self._index)
        return super().rgb()


def counted(
    num_frames: int, poses: Callable[[int], Sequence[Pose]], converted: list[int]
) -> Iterator[CountedPicture]:
    for i in range(num_frames):
        yield CountedPicture(draw(background(SIZE, i // 100), poses(i)), converted, i)


@pytest.mark.parametrize("window", [1, 8])
def test_pictures_without_a_face_are_converted_only_to_be_searched(window: int) -> None:
    backend, converted = ColourBackend(window=window), []
    track_faces(counted(300, lambda i: [], converted), FacesConfig(detect_every=48), backend)
    assert len(converted) < 60
    # The first picture is searched twice, once for faces too small to be tracked.
    assert len(set(converted)) == len(converted) == backend.detections - 1


def test_every_picture_of_a_tracked_or_lost_face_is_converted() -> None:
    converted: list[int] = []
    config = FacesConfig(detect_every=48, min_track_frames=5, max_gap=10)

    def poses(i: int) -> list[Pose]:
        return [Pose(0, 120, 120, 80)] if i < 40 else []

    tracks = track_faces(counted(200, poses, converted), config, ColourBackend())
    assert tracks.spans == [(0, 40)]
    assert set(converted) >= set(range(51))
    assert len(set(converted)) < 100


def encoded(path: Path, num_frames: int, pixels: str) -> Path:
    """A new scene every 25 frames, and a face that moves, is lost for a second, and is replaced."""

    def poses(i: int) -> list[Pose]:
        return [] if 45 <= i < 70 else [Pose(i // 70, 60 + i % 70, 70, 50)]

    drawn = [draw(background((200, 140), i // 25), poses(i)) for i in range(num_frames)]
    codec = "libx264" if pixels == "yuv420p" else "ffv1"
    return make_clip(path, pictures=drawn, video_codec=codec, pixel_format=pixels)


@pytest.mark.slow
def test_decoded_pictures_give_the_tracks_of_their_arrays(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mkv", 100, "bgr0")
    lazy, arrays = [
        [
            (t.start, t.stop, t.block.lips.tobytes(), t.block.points.tobytes())
            for t in track_faces(frames, SHORT, ColourBackend()).kept
        ]
        for frames in (read_pictures(path, 0.0, 100), read_frames(path, 0.0, 100))
    ]
    assert lazy == arrays
    assert len(arrays) == 4


@pytest.mark.slow
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv422p10le"])
def test_decoded_pictures_have_the_cuts_of_their_arrays(tmp_path: Path, pixels: str) -> None:
    path = encoded(tmp_path / "a.mkv", 60, pixels)
    lazy, arrays = CutDetector(0.4), CutDetector(0.4)
    cuts = [
        i
        for i, picture in enumerate(read_pictures(path, 0.0, 60))
        if lazy.is_cut(picture) | arrays.is_cut(ArrayPicture(picture.rgb()))
    ]
    assert cuts == [25, 50]
    distances = [
        abs(
            distance(summary(a), summary(b))
            - distance(summary(ArrayPicture(a.rgb())), summary(ArrayPicture(b.rgb())))
        )
        for a, b in itertools.pairwise(read_pictures(path, 0.0, 60))
    ]
    assert max(distances) < 0.1


@pytest.mark.parametrize("turn", [[], ["-display_rotation", "90"], ["-display_hflip"]])
def test_samples_show_the_picture_as_it_is_displayed(tmp_path: Path, turn: list[str]) -> None:
    picture = np.full((120, 200, 3), 60, np.uint8)
    picture[:60, :100] = (250, 40, 40)
    whole = make_clip(tmp_path / "a.mp4", pictures=[picture] * 3)
    path = tmp_path / "b.mp4"
    command = [binary(), "-v", "error", *turn, "-i", whole, "-c", "copy", path]
    subprocess.run([str(part) for part in command], check=True, stdin=subprocess.DEVNULL)
    for shown in read_pictures(path, 0.0, 2):
        expected = ArrayPicture(shown.rgb()).samples(48).astype(int)
        assert np.abs(shown.samples(48).astype(int) - expected)[1:-1:4, 1:-1:4].max() < 30
        assert shown.shape == shown.rgb().shape


def test_repeated_pictures_are_converted_once(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", pictures=[background((64, 64), 1)] * 3)
    shown = list(read_pictures(path, -0.4, 20))
    assert len({id(picture) for picture in shown}) == 3
    assert shown[0].rgb() is shown[1].rgb()
