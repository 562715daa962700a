"""A separator that gives back what it hears: every seam, delay and level of the rest shows."""

from __future__ import annotations

import numpy as np
import torch

from avsep.faces.backends import Detection, Estimate, Region
from avsep.models.dolphin.config import DolphinConfig
from tests.support.face_scene import Pose, background, draw, talking

SIZE = (320, 240)
RATE_HZ = 16_000


class Echo(torch.nn.Module):
    """Returns `share` of the mixture for every mouth, and notes the mouths it was shown."""

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        self.config = DolphinConfig.demo()
        self.card = {"family": "dolphin", "config": {}, "sha256": "0" * 64}
        self.anything = torch.nn.Parameter(torch.zeros(1))
        self.share = share
        self.shown: list[tuple[int, int]] = []  # mouths, frames

    def encode_lips(self, lips: torch.Tensor) -> torch.Tensor:
        self.shown.append((lips.shape[0], lips.shape[2]))
        return lips.mean((1, 3, 4))[..., None]

    def separate_features(self, mixture: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        assert features.shape[1] == -(-mixture.shape[1] // 640)
        return self.share * mixture[:, None]


def pictures(poses, num_frames: int, shots=((0, 0),), size=SIZE) -> np.ndarray:
    """(F, H, W, 3): faces at poses(frame) before one background a shot (first frame, seed)."""
    shown = {first: background(size, seed) for first, seed in shots}
    frames, behind = [], None
    for index in range(num_frames):
        behind = shown.get(index, behind)
        frame = draw(behind, poses(index))
        frame[0, 0, 1] = index % 256  # `ColourBackend` moves the mouths by it
        frames.append(frame)
    return np.stack(frames)


def two(_index: int) -> list[Pose]:
    """Two faces that stay."""
    return [Pose(0, 90, 110, 80), Pose(1, 230, 120, 70)]


def noise(num_samples: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """(n,) float32."""
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(num_samples)).astype(np.float32)


class FixedBackend:
    """Finds one talking face in the middle of every picture, whatever it shows."""

    name = "fixed"
    window = 1
    min_score = 0.5

    def __init__(self) -> None:
        self._calls = 0

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        x, y, side = self._place(frame)
        return [Detection(x, y, side, 0.9, Region(x, y, side * 1.5))]

    def landmarks(self, frames, regions) -> list[Estimate]:
        return [self._estimate(frame) for frame in frames]

    def _estimate(self, frame: np.ndarray) -> Estimate:
        x, y, side = self._place(frame)
        self._calls += 1
        points = talking(self._calls) * side + np.array([x, y, 0])
        return Estimate(points.astype(np.float32), 0.9, Region(x, y, side * 1.5))

    def _place(self, frame: np.ndarray) -> tuple[float, float, float]:
        return frame.shape[1] / 2, frame.shape[0] / 2, frame.shape[0] / 2


def still_pictures(count: int, flash: int | None = None, flashes: int = 1) -> list[np.ndarray]:
    """A picture (96, 128, 3) that does not move, but for white ones from index `flash` on."""
    pictures = [background((128, 96), seed=3)] * count
    if flash is not None:
        pictures[flash : flash + flashes] = [np.full((96, 128, 3), 235, np.uint8)] * flashes
    return pictures
