"""Vector quantisation of one vector a frame, with a codebook learned by moving averages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avsep.models.dolphin.lip_config import QuantiserConfig

_FLOOR = 1e-6
_SMOOTHING = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantised:
    """What the quantiser returns for (B, F, D) features.

    Attributes:
        features: (B, F, D), from the chosen codes.
        indices: (B, F) int64.
        commitment: scalar, mean squared distance of the projected input to its code.
    """

    features: Tensor
    indices: Tensor
    commitment: Tensor


class Quantiser(nn.Module):
    """Project to the code size, take a code, project back.

    In training the code is drawn by distance with Gumbel noise, the gradient passes by rotating
    and scaling it from the input's direction to the code's, and the codebook follows the inputs
    by moving averages, also under no-grad: a frozen quantiser must be in eval mode. The codebook
    is filled by k-means on the first training batch. In eval the nearest code is taken and no
    gradient passes to the input.

    Args:
        feature_size: D.
        config: see `QuantiserConfig`.
    """

    initialised: Tensor
    cluster_size: Tensor
    code_sums: Tensor
    codes: Tensor

    def __init__(self, feature_size: int, config: QuantiserConfig) -> None:
        super().__init__()
        self.config = config
        self.project_in = nn.Linear(feature_size, config.code_size)
        self.project_out = nn.Linear(config.code_size, feature_size)
        self.register_buffer("initialised", torch.tensor(False))
        self.register_buffer("cluster_size", torch.zeros(config.codes))
        self.register_buffer("code_sums", torch.zeros(config.codes, config.code_size))
        self.register_buffer("codes", torch.zeros(config.codes, config.code_size))

    def forward(self, x: Tensor, *, noise: Tensor | None = None) -> Quantised:
        """Quantise features.

        Args:
            x: (B, F, D).
            noise: (B, F, codes) uniform in (0, 1) for the draw of codes in training; drawn from
                the default generator if None. Ignored in eval.

        Returns:
            See `Quantised`.
        """
        with torch.autocast(x.device.type, enabled=False):  # which code is nearest needs float32
            vectors = self.project_in(x.float())
            if self.training:
                return self._train(vectors, noise)
            indices = torch.cdist(vectors.flatten(0, 1), self.codes).argmin(-1)
            indices = indices.view(x.shape[:2])
            codes = self.codes[indices]
            commitment = (codes - vectors).square().mean()
            return Quantised(
                features=self.project_out(codes), indices=indices, commitment=commitment
            )

    def _train(self, vectors: Tensor, noise: Tensor | None) -> Quantised:
        flat = vectors.detach().flatten(0, 1)
        if not self.initialised:
            self._start(flat)
        distance = _distances(flat, self.codes)
        if noise is None:
            noise = torch.rand_like(distance)
        gumbel = -torch.log(-torch.log(noise.view_as(distance).clamp(1e-20, 1 - 1e-7)))
        score = -distance / max(self.config.temperature, 1e-10) + gumbel
        indices = score.argmax(-1).view(vectors.shape[:2])
        codes = self.codes[indices]
        self._follow(flat, indices.flatten())
        return Quantised(
            features=self.project_out(rotate(vectors, codes)),
            indices=indices,
            commitment=(codes - vectors).square().mean(),
        )

    @torch.no_grad()
    def _start(self, vectors: Tensor) -> None:
        """Fill the codebook by k-means over (N, d) vectors; the same on all ranks."""
        codes, counts = k_means(vectors, len(self.codes), self.config.kmeans_iterations)
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(codes, 0)
            dist.broadcast(counts, 0)
        self.codes.copy_(codes)
        self.code_sums.copy_(codes * counts[:, None])
        self.cluster_size.copy_(counts)
        self.initialised.fill_(True)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, indices: Tensor) -> None:
        """Move the codebook towards the vectors that took each code."""
        counts = torch.zeros_like(self.cluster_size).index_add_(
            0, indices, torch.ones_like(indices, dtype=self.cluster_size.dtype)
        )
        sums = torch.zeros_like(self.code_sums).index_add_(0, indices, vectors)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        weight = 1 - self.config.decay
        self.cluster_size.lerp_(counts, weight)
        self.code_sums.lerp_(sums, weight)
        total = self.cluster_size.sum()
        smoothed = self.cluster_size + _SMOOTHING
        smoothed = smoothed / (total + len(smoothed) * _SMOOTHING) * total
        self.codes.copy_(self.code_sums / smoothed[:, None])
        if self.config.dead_code_threshold > 0:
            self._replace_dead(vectors)

    def _replace_dead(self, vectors: Tensor) -> None:
        """Put codes that are hardly taken onto vectors of the batch, drawn at random."""
        dead = (self.cluster_size < self.config.dead_code_threshold).nonzero().flatten()
        if len(dead) == 0:
            return
        drawn = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(drawn, 0)
        self.codes[dead] = drawn
        self.cluster_size[dead] = self.config.dead_code_threshold
        self.code_sums[dead] = drawn * self.config.dead_code_threshold


def _distances(vectors: Tensor, codes: Tensor) -> Tensor:
    """Euclidean distances (N, K) of (N, d) vectors to (K, d) codes."""
    return torch.cdist(vectors, codes)


def rotate(vectors: Tensor, codes: Tensor) -> Tensor:
    """The codes, with a gradient to the vectors that is turned and scaled from them to the codes.

    (Rotation trick, Fifty et al. 2024.) Both (..., d), to the same shape.
    """
    lengths = vectors.norm(dim=-1, keepdim=True).clamp_min(_FLOOR).detach()
    code_lengths = codes.norm(dim=-1, keepdim=True).clamp_min(_FLOOR)
    u = vectors.detach() / lengths
    q = codes / code_lengths
    w = nn.functional.normalize(u + q, dim=-1, eps=_FLOOR)
    reflected = vectors - 2 * (vectors * w).sum(-1, keepdim=True) * w
    turned = reflected + 2 * (vectors * u).sum(-1, keepdim=True) * q
    return turned * (code_lengths / lengths)


def k_means(vectors: Tensor, count: int, iterations: int) -> tuple[Tensor, Tensor]:
    """Cluster (N, d) vectors; returns the means (count, d) and how many took each (count,).

    Starts from vectors drawn by the default generator (with repeats if there are too few); a mean
    that nothing takes stays where it is.
    """
    if len(vectors) >= count:
        start = torch.randperm(len(vectors), device=vectors.device)[:count]
    else:
        start = torch.randint(len(vectors), (count,), device=vectors.device)
    means = vectors[start].clone()
    counts = torch.zeros(count, device=vectors.device)
    for _ in range(iterations):
        taken = _distances(vectors, means).argmin(-1)
        counts = torch.bincount(taken, minlength=count).to(vectors.dtype)
        sums = torch.zeros_like(means).index_add_(0, taken, vectors)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], means)
    return means, counts
