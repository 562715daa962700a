"""The spatio-temporal graph network that turns landmarks into motion features.

Shapes: B items, F video frames, V = 68 landmarks, C channels, K = 3 edge groups, T spectral frames.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from avsep.models.gpu.convolution import Conv2d
from avsep.models.vovit import fused
from avsep.models.vovit.config import GraphConfig
from avsep.schema import NUM_LANDMARKS

NUM_EDGE_GROUPS = 3
# Jaw, brows, nose ridge, nostrils, eyes, outer and inner lip. The chains are open, even those of
# the eyes and lips, and not connected to each other.
_CHAINS = (
    range(0, 17),
    range(17, 22),
    range(22, 27),
    range(27, 31),
    range(31, 36),
    range(36, 42),
    range(42, 48),
    range(48, 60),
    range(60, 68),
)


def adjacency() -> Tensor:
    """Edge weights (K, V, V) from node v to node w; summed over K, each column sums to 1.

    Group 0 holds the nodes themselves. The official code splits the other edges by their distance
    to landmark 0 and treats every distance above one hop as infinite. So group 2 holds only the
    edges 0 to 1 and 1 to 2, and group 1 all others. The official weights were trained on this
    split.
    """
    edges = torch.eye(NUM_LANDMARKS)
    for chain in _CHAINS:
        for a, b in pairwise(chain):
            edges[a, b] = edges[b, a] = 1.0
    edges = edges / edges.sum(0, keepdim=True)
    itself = torch.diag(torch.diag(edges))
    inward = torch.zeros_like(edges)
    inward[0, 1], inward[1, 2] = edges[0, 1], edges[1, 2]
    return torch.stack([itself, edges - itself - inward, inward])


class GraphBlock(nn.Module):
    """One graph convolution over the landmarks, then one convolution over time."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, residual: bool) -> None:
        super().__init__()
        self.edge_importance = nn.Parameter(
            torch.ones(NUM_EDGE_GROUPS, NUM_LANDMARKS, NUM_LANDMARKS)
        )
        self.expand = nn.Conv2d(in_channels, NUM_EDGE_GROUPS * out_channels, 1)
        self.norm_in = nn.BatchNorm2d(out_channels)
        self.temporal = Conv2d(out_channels, out_channels, (kernel, 1), padding=(kernel // 2, 0))
        self.norm_out = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module | None = None
        if residual:
            self.shortcut = (
                nn.Identity()
                if in_channels == out_channels
                else nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels)
                )
            )

    def forward(self, x_BCFV: Tensor, edges_KVV: Tensor) -> Tensor:
        """(B, C, F, V) to (B, C', F, V)."""
        groups_BKCFV = rearrange(self.expand(x_BCFV), "b (k c) f v -> b k c f v", k=NUM_EDGE_GROUPS)
        weights_KVW = edges_KVV * self.edge_importance
        y_BCFW = torch.einsum("bkcfv,kvw->bcfw", groups_BKCFV, weights_KVW)
        y = self.norm_out(self.temporal(torch.relu(self.norm_in(y_BCFW))))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x_BCFV))


class GraphNetwork(nn.Module):
    """Landmarks to motion features, one vector per spectral frame."""

    edges: Tensor

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        self.register_buffer("edges", adjacency())
        self.norm = nn.BatchNorm1d(2 * NUM_LANDMARKS)
        widths = (2, *config.channels)
        self.blocks = nn.ModuleList(
            GraphBlock(widths[i], widths[i + 1], config.kernel, residual=i > 0)
            for i in range(len(config.channels))
        )

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        edges = state.get(f"{prefix}edges")
        if edges is not None and (edges.triu(2).any() or edges.tril(-2).any()):
            rest[-1].append(
                f"{prefix}edges joins landmarks that are not neighbours; VoViT's graph joins only"
                " neighbours, so these weights are of another model."
            )
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, points_BFV2: Tensor, num_frames: int) -> Tensor:
        """Motion features at the rate of the spectrum.

        Args:
            points_BFV2: x and y of the landmarks, in pixels, for any number of frames.
            num_frames: T, number of spectral frames over the same time.

        Returns:
            (B, T, C).
        """
        if fused.serves(self, points_BFV2):
            return nearest_frames(fused.graph_points(self, points_BFV2).mean(2), num_frames)
        x = self.norm(rearrange(points_BFV2, "b f v c -> b (v c) f"))
        x_BCFV = rearrange(x, "b (v c) f -> b c f v", v=NUM_LANDMARKS)
        for block in self.blocks:
            x_BCFV = block(x_BCFV, self.edges)
        pooled_BFC = reduce(x_BCFV, "b c f v -> b f c", "mean")
        return nearest_frames(pooled_BFC, num_frames)


def nearest_frames(x_BFC: Tensor, num_frames: int) -> Tensor:
    """(B, F, C) to (B, T, C) with T = `num_frames`: output i takes frame floor(i F / T)."""
    index = torch.arange(num_frames, device=x_BFC.device) * x_BFC.shape[1] // num_frames
    return x_BFC[:, index]
