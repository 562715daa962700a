"""face-alignment (Bulat and Tzimiropoulos, ICCV 2017): S3FD and FAN, on CPU or GPU, in batches.

The networks come from the package, and boxes and points equal those of its own call. Here, weights
are checked before they are read, and crops of any frames and clips share batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avsep.errors import UsageError
from avsep.faces.backends import FACE_ALIGNMENT_BATCH, Detection, Estimate, Region, fan, s3fd
from avsep.faces.backends.fan_weights import find_weights, load_state, weight_names
from avsep.faces.backends.runner import Runner, estimate_pairs
from avsep.faces.geometry import face_boxes
from avsep.schema import NUM_LANDMARKS

if TYPE_CHECKING:
    import torch

# The network was trained on squares of this size and place around a detector's box.
REGION_SCALE = 200 / 195  # side of the region relative to the sum of the box's width and height
UP_SHARE = 0.12  # distance of the region above the box, relative to the box's height
# Larger pictures are shrunk for the detector, until the smallest wanted face or the shorter side
# has this many pixels. Without shrinking, boxes equal the package's.
DETECTED_SIDE, DETECTED_PICTURE = 32, 640


@dataclass(frozen=True)
class BoxRegion(Region):
    """A region that keeps its place and size relative to the landmarks found in it.

    Attributes:
        relation: offset x, offset y and side of the region, relative to the side of the landmarks'
            box, measured in the frame of the detection; None until then.
    """

    relation: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of a process, as functions on tensors.

    Attributes:
        detector: (1, 3, H, W) to S3FD's list of outputs.
        alignment: (N, 3, 256, 256) to heatmaps.
        depth: (N, 71, 256, 256) to (N, 68), or None for 2-D landmarks.
        mirror: turns heatmaps of mirrored faces back; None skips the mirrored pass.
    """

    detector: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    alignment: Callable[[torch.Tensor], object]
    depth: Callable[[torch.Tensor], torch.Tensor] | None
    mirror: Callable[[torch.Tensor], torch.Tensor] | None


class FaceAlignmentNetworks:
    """The networks on one device, as an engine runs them; see `engine.server.Networks`.

    Args:
        networks: the networks.
        device: name of the device in PyTorch.
        batch: crops per batch; all batches have this size, see `in_batches`.
    """

    def __init__(self, networks: Networks, device: str, batch: int) -> None:
        self._networks, self._device, self._batch = networks, device, batch

    def find(self, frames: Sequence[np.ndarray], smallest: Sequence[int]) -> list[np.ndarray]:
        """The boxes of each frame, (N, 5): left, top, right, bottom in pixels, and score."""
        # One frame after the other: they have many sizes, and fill the device alone.
        return [self._boxes(*pair) for pair in zip(frames, smallest, strict=True)]

    def _boxes(self, frame: np.ndarray, smallest: int) -> np.ndarray:
        import torch

        height, width = frame.shape[:2]
        shrink = max(1.0, min(smallest / DETECTED_SIDE, min(width, height) / DETECTED_PICTURE))
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if shrink > 1 else frame
        with torch.inference_mode():
            outputs = self._networks.detector(s3fd.network_input(small, self._device))
        found = s3fd.boxes(outputs)
        found[:, :4] *= np.array([width / size[0], height / size[1]] * 2)
        return found

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        """(N, 205): 68 places x and y in cells of the heatmap, 68 depths in pixels, a score."""
        import torch

        from avsep.faces.engine.batches import in_batches
        from avsep.faces.engine.frames import PackedFrames

        packed = PackedFrames(frames, self._device)
        windows = fan.crop_windows(regions[:, :3])

        def crop(part: slice) -> torch.Tensor:
            return packed.resized(numbers[part], windows[part], fan.INPUT) / 255

        with torch.inference_mode():
            rows = in_batches(self._rows, crop, len(numbers), self._batch)
        return rows.cpu().numpy()

    def _rows(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        nets = self._networks
        place, peak = fan.peaks(fan.heatmaps(nets.alignment, nets.mirror, inputs))
        depth = torch.zeros_like(peak)
        if nets.depth is not None:
            marked = torch.cat([inputs, fan.blobs(place)], dim=1)
            depth = nets.depth(marked).reshape(depth.shape).float()
        score = peak.mean(dim=1, keepdim=True).clamp(0, 1)
        return torch.cat([place.flatten(1), depth, score], dim=1)


class FaceAlignmentBackend:
    """S3FD boxes and 68 points by FAN.

    Args:
        runner: runs the networks, here or in an engine.
        window: number of frames to estimate at once.
        whole_pixels: whether points are whole pixels, as those of the package are.
    """

    name = "face_alignment"
    # Mean height of the heatmaps' peaks, which are about 1 where the network is sure.
    min_score = 0.2

    def __init__(self, runner: Runner, window: int = 8, *, whole_pixels: bool = True) -> None:
        if window < 1:
            raise ValueError(f"window is {window}; it must be at least 1.")
        cv2.setNumThreads(1)
        self.window = window
        self._runner, self._whole = runner, whole_pixels

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        return [_detection(row) for row in self._runner.find(frame, min_face_px)]

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """One estimate per pair of a frame (H, W, 3) uint8 RGB and a region in it."""
        if not frames:
            return []
        rows = estimate_pairs(self._runner, frames, regions)
        place, depth = rows[:, :136].reshape(-1, NUM_LANDMARKS, 2), rows[:, 136:204]
        points = fan.to_source(place, depth, regions, whole=self._whole)
        boxes = face_boxes(points)
        return [
            Estimate(
                points=points[i],
                score=float(rows[i, -1]),
                region=_next_region(regions[i], boxes[i]),
            )
            for i in range(len(regions))
        ]


def load_networks(
    device: str = "cpu",
    weights: str = "",
    three_d: bool = True,
    mirror: bool = True,
    batch: int = FACE_ALIGNMENT_BATCH,
) -> FaceAlignmentNetworks:
    """Load the networks.

    Args:
        device: name of the device in PyTorch.
        weights: folder of the weight files; empty for the folder of PyTorch's hub.
        three_d: whether to use 3DFAN and the depth network instead of 2DFAN.
        mirror: whether to also estimate on the mirrored face and average: twice the work, less
            jitter.
        batch: crops per batch.

    Raises:
        UsageError: the weights are missing or damaged, or the device cannot be used.
    """
    paths = find_weights(weight_names(three_d), weights)
    import torch
    from face_alignment.detection.sfd.net_s3fd import s3fd as DetectorNetwork
    from face_alignment.models import FAN, ResNetDepth
    from face_alignment.utils import flip

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"the device {device!r} cannot be used: {error}") from error
    modules: list[torch.nn.Module] = [DetectorNetwork(), FAN(4)]
    if three_d:
        modules.append(ResNetDepth())
    for module, path in zip(modules, paths, strict=True):
        module.load_state_dict(load_state(path, device))
        module.to(device).eval()
    networks = Networks(
        detector=modules[0],
        alignment=modules[1],
        depth=modules[2] if three_d else None,
        mirror=(lambda maps: flip(maps, is_label=True)) if mirror else None,
    )
    return FaceAlignmentNetworks(networks, device, batch)


def _detection(row: np.ndarray) -> Detection:
    left, top, right, bottom, score = (float(value) for value in row)
    width, height = right - left, bottom - top
    x, y = (left + right) / 2, (top + bottom) / 2
    region = BoxRegion(x=x, y=y - UP_SHARE * height, side=(width + height) * REGION_SCALE)
    return Detection(x=x, y=y, side=max(width, height), score=score, region=region)


def _next_region(region: Region, box: np.ndarray) -> BoxRegion:
    """The region for the next frame, placed around the landmarks as when the face was detected."""
    x, y, side = (float(value) for value in box)
    side = max(side, 1.0)
    relation = region.relation if isinstance(region, BoxRegion) else None
    if relation is None:
        relation = ((region.x - x) / side, (region.y - y) / side, region.side / side)
    return BoxRegion(
        x=x + relation[0] * side,
        y=y + relation[1] * side,
        side=relation[2] * side,
        relation=relation,
    )
