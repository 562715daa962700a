"""Small faces are found from the first frame on, and those that are too small are counted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avsep.corpora.demo.corpus import DemoClip, talk
from avsep.faces.backends.mediapipe import MediaPipeBackend
from avsep.faces.config import FacesConfig
from avsep.faces.extraction import track_faces

FRAMES = 30
FACE_SHARE = 0.54  # side of the face relative to the drawn picture of a head


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    """Three talking heads, (30, 224, 224, 3) each."""
    clips = [DemoClip(speaker=speaker, number=1) for speaker in (0, 5, 2)]
    talks = [talk(clip, seed=0, num_frames=FRAMES) for clip in clips]
    return [np.stack([picture for picture, _ in made.frames]) for made in talks]


def room(heads: list[np.ndarray], face_px: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Frames of a plain room with the heads side by side."""
    side = round(face_px / FACE_SHARE)
    frames = []
    for index in range(FRAMES):
        frame = np.full((size[1], size[0], 3), 120, np.uint8)
        for place, head in enumerate(heads, start=1):
            left = place * size[0] // (len(heads) + 1) - side // 2
            small = cv2.resize(head[index], (side, side), interpolation=cv2.INTER_AREA)
            frame[size[1] // 3 : size[1] // 3 + side, left : left + side] = small
        frames.append(frame)
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("smallest", [32, 60])  # of `separate` and of `extract`
@pytest.mark.parametrize("face_px", [34, 44, 55])
def test_faces_in_a_small_picture_are_found_from_frame_0(
    heads: list[np.ndarray], face_px: int, smallest: int
) -> None:
    config = FacesConfig(min_face_px=smallest)
    tracks = track_faces(room(heads[:2], face_px, (640, 360)), config, MediaPipeBackend())
    assert tracks.spans == [(0, FRAMES)] * 2
    assert tracks.too_small == ()


@pytest.mark.slow
def test_faces_that_are_too_small_are_counted_with_their_size(heads: list[np.ndarray]) -> None:
    frames = room(heads[:2], 22, (640, 360))
    tracks = track_faces(frames, FacesConfig(), MediaPipeBackend())
    assert tracks.kept == []
    assert len(tracks.too_small) == 2
    assert all(15 < side < 32 for side in tracks.too_small)


@pytest.mark.slow
def test_faces_over_the_limit_are_counted(heads: list[np.ndarray]) -> None:
    frames = room(heads, 60, (640, 360))
    tracks = track_faces(frames, FacesConfig(max_faces=1), MediaPipeBackend())
    assert len(tracks.kept) == 1
    assert tracks.over_limit == 2
    assert track_faces(frames, FacesConfig(), MediaPipeBackend()).most_at_once == 3


@pytest.mark.parametrize(
    ("size", "limit"),
    [((224, 224), 32), ((640, 360), 34), ((854, 480), 45), ((1280, 720), 60), ((360, 640), 34)],
)
def test_limit_shrinks_with_the_picture(size: tuple[int, int], limit: int) -> None:
    assert FacesConfig(min_face_px=60).smallest_face(*size) == limit
    assert FacesConfig(min_face_px=16).smallest_face(*size) == 16
