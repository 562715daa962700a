"""MediaPipe's detector and face mesh on a device: crops, networks and boxes, in padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from avsep.faces.backends import blazeface
from avsep.faces.backends.face_mesh import SIZE, region_matrix
from avsep.faces.backends.task_file import DETECTOR, LANDMARKER, read_models
from avsep.faces.backends.tflite import read_model
from avsep.faces.backends.tflite_torch import TfliteNetwork
from avsep.faces.engine.batches import in_batches
from avsep.faces.engine.frames import PackedFrames

Precision = Literal["float", "half"]


class MediaPipeNetworks:
    """The networks of a process on one device.

    Each network sees batches of one size, filled up with black, so that the result of a picture
    does not depend on what else is in its batch.

    Args:
        device: name of the device in PyTorch.
        precision: format of the mesh network; the detector always runs in float32.
        batch: number of pictures per batch.
    """

    def __init__(self, device: str, precision: Precision, batch: int) -> None:
        models = read_models()
        self._format = torch.float16 if precision == "half" else torch.float32
        detector = TfliteNetwork(read_model(models[DETECTOR]), ["classificators", "regressors"])
        mesh = TfliteNetwork(read_model(models[LANDMARKER]), ["Identity", "Identity_1"])
        self._detector = detector.eval().to(device)
        self._mesh = mesh.eval().to(device, self._format)
        self._anchors = torch.as_tensor(blazeface.ANCHORS, dtype=torch.float32, device=device)
        self._device, self._batch = device, batch

    def find(self, frames: Sequence[np.ndarray], smallest: Sequence[int]) -> list[np.ndarray]:
        """The faces in frames.

        Args:
            frames: pictures (H, W, 3) uint8 RGB.
            smallest: side of the smallest face to find in each, in pixels.

        Returns:
            For each frame the rows (N, 17) of `blazeface.merge`.
        """
        packed = PackedFrames(frames, self._device)
        squares, places = [], []
        for number, (frame, side) in enumerate(zip(frames, smallest, strict=True)):
            for square, step, origin in self._squares(packed, number, frame.shape, side):
                squares.append(square)
                places.append((number, step, origin))
        candidates: list[list[np.ndarray]] = [[] for _ in frames]
        with torch.inference_mode():
            found = self._candidates(torch.stack(squares))
        for rows, (number, step, origin) in zip(found, places, strict=True):
            candidates[number].append(blazeface.to_picture(rows, step, origin))
        merged = [blazeface.merge(np.concatenate(rows)) for rows in candidates]
        return [np.array(faces).reshape(-1, blazeface.ROW) for faces in merged]

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        """Meshes in rotated squares of frames.

        Args:
            frames: pictures (H, W, 3) uint8 RGB.
            numbers: number of the frame of each region.
            regions: (N, 4) x and y of the centre, side and angle.

        Returns:
            (N, 1435) float32: the mesh (478, 3) in pixels of the square, and the presence logit.
        """
        packed = PackedFrames(frames, self._device)
        matrices = np.stack([region_matrix(*region) for region in regions.tolist()])

        def crop(part: slice) -> torch.Tensor:
            squares = packed.squares(numbers[part], matrices[part], SIZE, replicate=True)
            return (squares / 255).to(self._format)

        with torch.inference_mode():
            rows = in_batches(self._run_mesh, crop, len(numbers), self._batch)
        return rows.cpu().numpy()

    def _run_mesh(self, squares: torch.Tensor) -> torch.Tensor:
        points, presence = self._mesh(squares)
        return torch.cat([points.flatten(1), presence.flatten(1)], dim=1).float()

    def _squares(
        self, packed: PackedFrames, number: int, shape: tuple[int, ...], smallest: int
    ) -> list[tuple[torch.Tensor, np.ndarray, np.ndarray]]:
        """The squares of a frame that the detector looks at, each with its step and origin."""
        height, width = shape[:2]
        matrix, step, origin = blazeface.letterbox(width, height)
        whole = packed.squares([number], matrix[None], blazeface.SIZE, replicate=False)[0]
        found = [(whole, np.array([step, step]), origin)]
        for side in blazeface.tile_sides(width, height, smallest):
            size = blazeface.level_size(width, height, side)
            level = packed.shrunk(number, *size)
            scale = np.array([width / size[0], height / size[1]])
            for x, y in blazeface.tile_corners(*size):
                tile = level[:, y : y + blazeface.SIZE, x : x + blazeface.SIZE]
                found.append((tile, scale, np.array([x, y]) * scale))
        return found

    def _candidates(self, squares: torch.Tensor) -> list[np.ndarray]:
        """Rows of score, centre, size and six key points per square, in its pixels."""

        def part(rows: slice) -> torch.Tensor:
            return squares[rows] / 127.5 - 1

        rows = in_batches(self._run_detector, part, len(squares), self._batch)
        kept = rows[..., 0] >= blazeface.MIN_SCORE
        listed = rows[kept].cpu().double().numpy()
        ends = kept.sum(dim=1).cumsum(0).cpu().numpy()
        return np.split(listed, ends[:-1])

    def _run_detector(self, squares: torch.Tensor) -> torch.Tensor:
        """(N, 896, 17) score, centre, size and six key points of each anchor."""
        logits, values = self._detector(squares)
        centre = self._anchors.expand(len(squares), -1, -1)
        moved = values + torch.cat([centre, torch.zeros_like(centre), *[centre] * 6], dim=-1)
        return torch.cat([torch.sigmoid(logits.clamp(-100, 100)), moved], dim=-1)
