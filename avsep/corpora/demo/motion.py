"""The motion of a head besides its mouth (pose, blinks), and its scene (camera, light, room)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avsep.corpora.demo.shading import TONE_STEPS, Light
from avsep.corpora.demo.skin import bell, cloud

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DIGITS = 6  # curves are rounded, so that differences between processors change no picture
_NOISE_SIDE = 256
_NOISE_LEVELS = 2.0  # standard deviation of the camera noise, in grey levels


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Curves of one clip, each (frames,) float64; angles in radians, lengths in decimetres.

    Attributes:
        yaw: turn of the head to the side.
        pitch: turn of the head downwards.
        roll: turn of the head towards the shoulder.
        gaze_x: turn of the eyes to the side.
        gaze_y: turn of the eyes upwards.
        blink: eyelids, 0 open to 1 closed.
        brow: eyebrows, above 0 raised, below 0 lowered.
        shift_x: shift of the head to the side, as the camera sees it.
        shift_y: shift of the head upwards.
    """

    yaw: Array
    pitch: Array
    roll: Array
    gaze_x: Array
    gaze_y: Array
    blink: Array
    brow: Array
    shift_x: Array
    shift_y: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What does not change during a clip.

    Attributes:
        distance: distance from the camera to the point between the eyes, in decimetres.
        zoom: focal length divided by the side of the picture.
        light: see `shading.Light`.
        background: (size, size, 3) float32, linear colours.
        exposure: factor on the linear picture.
        noise: (256, 256, 3) int16 camera noise, in steps of the tone curve.
        noise_yx: (frames, 2) int64, offset of the noise in each frame.
    """

    distance: float
    zoom: float
    light: Light
    background: NDArray[np.float32]
    exposure: float
    noise: NDArray[np.int16]
    noise_yx: NDArray[np.int64]


def wander(rng: np.random.Generator, num_frames: int, width_s: float, fps: float) -> Array:
    """(num_frames,) smooth noise of variance 1 that varies over about `width_s` seconds."""
    reach = int(4 * width_s * fps)
    window = bell(np.arange(-reach, reach + 1.0), width_s * fps)
    window /= np.sqrt((window**2).sum())
    white = rng.standard_normal(num_frames + 2 * reach)
    return np.lib.stride_tricks.sliding_window_view(white, len(window)) @ window


def draw_motion(rng: np.random.Generator, loudness: Array, fps: float) -> Motion:
    """Draw the motion of one clip; the head nods slightly with `loudness` (frames,) in 0..1."""
    n = len(loudness)
    mean_yaw, mean_pitch = rng.normal(0, 0.09), rng.normal(0, 0.05)
    curves = {
        "yaw": mean_yaw + 0.07 * wander(rng, n, 0.45, fps),
        "pitch": mean_pitch + 0.035 * wander(rng, n, 0.35, fps) + 0.03 * (loudness - 0.5),
        "roll": 0.03 * wander(rng, n, 0.6, fps),
        # The eyes stay on the camera, so they turn against the head.
        "gaze_x": 0.05 * wander(rng, n, 0.5, fps) - 0.6 * mean_yaw,
        "gaze_y": 0.03 * wander(rng, n, 0.5, fps),
        "blink": _blinks(rng, n, fps),
        "brow": np.clip(0.25 * wander(rng, n, 0.5, fps), -0.2, 0.6),
        "shift_x": 0.10 * wander(rng, n, 0.7, fps),
        "shift_y": 0.05 * wander(rng, n, 0.7, fps) + 0.30,
    }
    return Motion(**{name: np.round(curve, DIGITS) for name, curve in curves.items()})


def _blinks(rng: np.random.Generator, num_frames: int, fps: float) -> Array:
    closed = np.zeros(num_frames)
    at = rng.uniform(0.2, 2.5) * fps
    while at < num_frames:
        closed += bell(np.arange(float(num_frames)) - at, 1.3 * fps / 25)
        at += rng.uniform(1.8, 4.5) * fps
    return np.minimum(closed, 1.0)


def draw_scene(rng: np.random.Generator, num_frames: int, size: int) -> Scene:
    """Draw camera, light and background of one clip of `size` x `size` pixels."""
    distance = float(np.round(rng.uniform(8, 11), DIGITS))
    half_height = rng.uniform(1.08, 1.32)  # decimetres in 0.42 of the side of the picture
    key = _unit([rng.uniform(-0.8, 0.8), rng.uniform(0.1, 0.7), rng.uniform(0.6, 1)])
    ambient = rng.uniform(0.35, 0.6)
    light = Light(
        key=key,
        half=_unit(key + np.array([0.0, 0.0, 1.0])),
        rim=_unit([-key[0], 0.1, 0.5]),
        key_colour=np.round(rng.uniform(0.85, 1.25) * (1 + rng.uniform(-0.08, 0.08, 3)), DIGITS),
        sky=np.round(ambient * (1 + rng.uniform(-0.08, 0.08, 3)), DIGITS),
        ground=np.round(ambient * np.array([0.75, 0.65, 0.55]), DIGITS),
        rim_level=float(np.round(rng.uniform(0.05, 0.25), DIGITS)),
    )
    noise = rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3)) * (_NOISE_LEVELS * TONE_STEPS)
    return Scene(
        distance=distance,
        zoom=float(np.round(0.42 * distance / half_height, DIGITS)),
        light=light,
        background=_draw_background(rng, size),
        exposure=float(np.round(rng.uniform(0.8, 1.15), DIGITS)),
        noise=np.round(noise).astype(np.int16),
        noise_yx=rng.integers(0, _NOISE_SIDE, (num_frames, 2)),
    )


def _unit(values: Array | list[float]) -> Array:
    vector = np.asarray(values, np.float64)
    return np.round(vector / np.sqrt((vector**2).sum()), DIGITS)


def _draw_background(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """(size, size, 3) a blurred room: one tint, soft shadows, and a few lighter or darker areas."""
    from scipy.ndimage import gaussian_filter1d

    tint = rng.uniform(0.08, 0.32) * (1 + rng.uniform(-0.35, 0.35, 3))
    picture = tint * (1 + 0.6 * cloud(rng, size, size, (6, 5)))[..., None]
    picture *= 1 + 0.25 * np.stack([cloud(rng, size, size, (6,)) for _ in range(3)], -1)
    for _ in range(int(rng.integers(0, 5))):
        y, x = rng.integers(0, size, 2)
        height, width = rng.integers(size // 8, size // 2, 2)
        picture[y : y + height, x : x + width] *= rng.uniform(0.4, 1.6)
    blur = rng.uniform(1.0, 4.5)
    for axis in (0, 1):
        picture = gaussian_filter1d(picture, blur, axis=axis)
    return (np.round(np.clip(picture, 0, 1) * 4096) / 4096).astype(np.float32)
