"""Heads that are turned away: marked, not used as detected, and cropped without a roll."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avsep.corpora.demo.corpus import load_head
from avsep.corpora.demo.motion import Motion, draw_motion, draw_scene
from avsep.corpora.demo.render import Renderer
from avsep.faces.backends import Estimate, Region
from avsep.faces.config import FacesConfig
from avsep.faces.extraction import FaceTrackSample, extract_faces
from avsep.faces.mouth import MEAN_FACE, mean_face_transforms, turned_mean_faces
from avsep.faces.quality import picture_scores, sound_scores
from avsep.models.vovit.landmarks import lost_frames
from avsep.schema import DETECTED, INTERPOLATED, MISSING, TURNED
from tests.support.face_scene import FACE, ColourBackend, Pose, background, draw


def turned(yaw_deg: float, pitch_deg: float = 0.0) -> np.ndarray:
    """`FACE` turned about the middle of the eyes, seen from the front; (68, 3)."""
    middle = FACE[[36, 45]].mean(axis=0)
    yaw, pitch = np.radians(yaw_deg), np.radians(pitch_deg)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    # The template itself looks a little aside.
    own = np.arctan2(*(FACE[45] - FACE[36])[[2, 0]])
    level = np.array([[np.cos(own), 0, np.sin(own)], [0, 1, 0], [-np.sin(own), 0, np.cos(own)]])
    return (FACE - middle) @ level.T @ about_y.T @ about_x.T + middle


class TurningBackend(ColourBackend):
    """Turns the face by the degrees in the first pixel's green."""

    def _estimate(self, frame: np.ndarray, region: Region) -> Estimate:
        found = super()._estimate(frame, region)
        points = turned(float(frame[0, 0, 1]) - 90) * region.side / 1.5
        points += np.array([region.x, region.y, 0])
        return replace(found, points=points.astype(np.float32))


def sample(yaw_deg: np.ndarray, config: FacesConfig | None = None) -> FaceTrackSample:
    def frames():
        picture = background((160, 160), 1)
        for degrees in yaw_deg:
            frame = draw(picture, [Pose(0, 80, 80, 60)])
            frame[0, 0, 1] = round(degrees + 90)
            yield frame

    (found,) = extract_faces(frames(), config or FacesConfig(min_track_frames=5), TurningBackend())
    return found


def roll_and_scale(transforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = transforms[:, 0, 0].astype(float), transforms[:, 1, 0].astype(float)
    return np.degrees(np.arctan2(y, x)), np.hypot(x, y)


@pytest.mark.parametrize("side", [-1, 1])
def test_frames_beyond_the_limit_are_marked_as_turned(side: int) -> None:
    yaw = side * np.concatenate([np.full(20, 10), np.full(20, 50), np.full(20, 30)])
    marks = sample(yaw).landmarks.valid
    assert (marks == np.repeat([DETECTED, TURNED, DETECTED], 20)).all()
    anyway = sample(yaw, FacesConfig(min_track_frames=5, max_yaw_deg=90)).landmarks.valid
    assert (anyway == DETECTED).all()


def test_turned_frames_are_not_used_as_detected() -> None:
    yaw = np.concatenate([np.full(30, 20), np.full(20, 45)])
    found = sample(yaw)
    assert found.scores["missing_share"] == pytest.approx(0.4)
    assert found.scores["turned_share"] == pytest.approx(0.4)
    assert found.scores["longest_gap"] == 20
    assert found.scores["yaw_p90_deg"] == pytest.approx(45, abs=2)  # how the head is, all of it
    shaken = replace(found.landmarks, points=found.landmarks.points.copy())
    shaken.points[30:] += np.random.default_rng(0).normal(0, 5, (20, 68, 3)).astype(np.float16)
    for name in ("jitter", "mouth_opening_variance"):
        assert picture_scores(shaken, 60)[name] == found.scores[name]
    sound = np.random.default_rng(1).normal(0, 3000, 50 * 640).astype(np.int16)
    assert sound_scores(shaken, sound) == sound_scores(found.landmarks, sound)
    marks = torch.tensor([[DETECTED, INTERPOLATED, MISSING, TURNED]])
    assert lost_frames(torch.ones(1, 4, 68, 3), marks).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("pitch", [-8, 0, 8])
def test_transform_does_not_roll_or_grow_when_a_head_turns(pitch: float) -> None:
    yaw = np.concatenate([np.zeros(1), np.arange(35, 66, 5), -np.arange(35, 66, 5)])
    points = np.stack([turned(degrees, pitch) for degrees in yaw]) * 100 + 112
    transforms = mean_face_transforms(points, 0, start=0, stop=len(yaw), total=len(yaw))
    roll, scale = roll_and_scale(transforms)
    assert np.abs(roll - roll[0]).max() < 8
    assert np.abs(scale / scale[0] - 1).max() < 0.15


def test_heads_up_to_twenty_degrees_are_fitted_to_the_mean_face_itself() -> None:
    yaw = np.array([-20.0, -5.0, 0.0, 12.0, 20.0])
    assert (turned_mean_faces(yaw) == MEAN_FACE).all()
    assert (turned_mean_faces(np.array([21.0, -21.0])) != MEAN_FACE).any(axis=(1, 2)).all()


def test_turned_mean_face_changes_without_a_jump() -> None:
    faces = turned_mean_faces(np.arange(-80, 80, 0.5))
    assert np.abs(np.diff(faces, axis=0)).max() < 2


@pytest.mark.slow
def test_crops_of_a_rendered_head_that_turns_keep_their_roll_and_size() -> None:
    from avsep.faces.backends.mediapipe import MediaPipeBackend

    yaw = np.concatenate([np.zeros(16), np.linspace(0, -52, 26), np.full(16, -52)])
    head = load_head(0, 3)
    rng = np.random.default_rng(3)
    drawn = draw_motion(rng, np.full(len(yaw), 0.5), 25.0)
    still = {name: np.zeros(len(yaw)) for name in ("pitch", "roll", "gaze_x", "blink", "shift_x")}
    motion: Motion = replace(drawn, yaw=np.radians(yaw), **still)
    frames = Renderer(head, 160).frames(
        np.zeros((len(yaw), len(head.unit_ends))), motion, draw_scene(rng, len(yaw), 160)
    )
    (found,) = extract_faces((picture for picture, _ in frames), FacesConfig(), MediaPipeBackend())
    marks = found.landmarks.valid
    assert (marks[:16] == DETECTED).all()
    assert (marks[-16:] == TURNED).all()
    roll, scale = roll_and_scale(found.landmarks.to_mean_face)
    scale = scale / found.landmarks.box[:, 2]  # per pixel of the source
    assert np.ptp(roll) < 6
    assert np.ptp(scale) / scale[0] < 0.12
