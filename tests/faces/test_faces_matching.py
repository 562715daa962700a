"""Whether two boxes or a box and a track show the same face."""

from __future__ import annotations

import numpy as np
import pytest

from avsep.faces.appearance import face_patch, patch_similarity
from avsep.faces.backends import Region
from avsep.faces.config import FacesConfig
from avsep.faces.crops import grey_crop
from avsep.faces.geometry import face_boxes
from avsep.faces.matching import duplicate_tracks, is_near, same_face
from avsep.faces.track import FaceTrack, Sighting
from tests.support.face_scene import FACE, Pose, background, draw


def sighting(pose: Pose) -> Sighting:
    frame = draw(background((320, 240)), [pose])
    points = (FACE * pose.side + np.array([pose.x, pose.y, 0])).astype(np.float32)
    box = face_boxes(points[None])[0]
    return Sighting(
        points=points,
        score=1.0,
        region=Region(pose.x, pose.y, pose.side),
        box=box,
        crop=grey_crop(frame, box, 1.5, 320),
        patch=face_patch(frame, box),
    )


def track(track_id: int, pose: Pose) -> FaceTrack:
    made = FaceTrack(FacesConfig(), track_id, 0, sighting(pose))
    made.add_sighting(sighting(pose))
    return made


def test_of_two_tracks_on_one_face_the_less_similar_one_is_wrong() -> None:
    own, slid = track(0, Pose(0, 150, 120, 80)), track(1, Pose(4, 100, 120, 80))
    here = sighting(Pose(0, 150, 120, 80))
    near = sighting(Pose(0, 152, 121, 80))
    assert duplicate_tracks({own: here, slid: near}) == {slid}
    assert duplicate_tracks({slid: near, own: here}) == {slid}
    apart = sighting(Pose(4, 250, 120, 80))
    assert duplicate_tracks({own: here, slid: apart}) == set()


def test_a_track_reaches_only_near_places_of_about_its_size() -> None:
    seen = track(0, Pose(0, 150, 120, 80))
    assert is_near(seen, np.array([185.0, 120.0, 80.0]), 0.5)
    assert not is_near(seen, np.array([195.0, 120.0, 80.0]), 0.5)
    assert is_near(seen, np.array([195.0, 120.0, 80.0]), 1.0)
    assert not is_near(seen, np.array([150.0, 120.0, 140.0]), 1.0)
    assert not is_near(seen, np.array([150.0, 120.0, 40.0]), 1.0)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((150, 120, 80), True),
        ((165, 130, 95), True),
        ((150, 130, 30), True),
        ((230, 120, 80), False),
    ],
)
def test_detector_and_landmark_boxes_of_one_face_are_the_same_face(
    other: tuple[float, float, float], same: bool
) -> None:
    assert same_face(np.array([150.0, 120.0, 80.0]), np.array(other, float)) is same


def test_patch_survives_light_and_a_small_move_and_tells_faces_apart() -> None:
    frame = draw(background((320, 240)), [Pose(0, 150, 120, 80)])
    box = np.array([150.0, 120.0, 80.0])
    own = face_patch(frame, box)
    assert np.linalg.norm(own) == pytest.approx(1)
    assert patch_similarity(own, face_patch((frame * 0.6).astype(np.uint8), box)) > 0.99
    assert patch_similarity(own, face_patch(frame, box + np.array([4, -3, 5]))) > 0.8
    other = draw(background((320, 240)), [Pose(4, 150, 120, 80)])
    assert patch_similarity(own, face_patch(other, box)) < 0.5
    assert not face_patch(np.full((240, 320, 3), 90, np.uint8), box).any()
