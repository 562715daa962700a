"""Vector quantisation of one vector per frame, with a codebook learned by moving averages.

Shapes: B items, F frames, D features, N = B F vectors, K codes, d entries per code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avsep.models.dolphin.lip_config import QuantiserConfig
from avsep.models.full_precision import full_precision
from avsep.training.batch_norm import ranks_together

_FLOOR = 1e-6
_SMOOTHING = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantised:
    """What the quantiser returns for (B, F, D) features.

    Attributes:
        features: (B, F, D), projected from the chosen codes.
        indices: (B, F) int64, the chosen codes.
        commitment: scalar, mean squared distance between the projected inputs and their codes.
    """

    features: Tensor
    indices: Tensor
    commitment: Tensor


class Quantiser(nn.Module):
    """Project to the code size, choose a code, project back.

    In eval mode the nearest code is chosen, and no gradient reaches the input. In training mode a
    code is sampled by distance with Gumbel noise, and the gradient is passed to the input by the
    rotation trick (`rotate`). The codebook is filled by k-means on the first training batch and
    then follows the inputs by moving averages. That happens under no-grad too, so a frozen
    quantiser must be in eval mode.

    Args:
        feature_size: D.
        config: settings.
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
            noise: (B, F, K) uniform in (0, 1) for the sampling of codes in training; None draws it
                from the default generator. Ignored in eval mode.
        """
        with full_precision(x):  # distances need float32
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
            self._fill_codebook(flat)
        distance = torch.cdist(flat, self.codes)
        indices = self._sample(distance, noise).view(vectors.shape[:2])
        codes = self.codes[indices]
        self._update_codebook(flat, indices.flatten())
        return Quantised(
            features=self.project_out(rotate(vectors, codes)),
            indices=indices,
            commitment=(codes - vectors).square().mean(),
        )

    def _sample(self, distance: Tensor, noise: Tensor | None) -> Tensor:
        """Codes (N,) by distances (N, K); without a temperature, the nearest."""
        if self.config.temperature == 0:
            return distance.argmin(-1)
        if noise is None:
            noise = torch.rand_like(distance)
        gumbel = -torch.log(-torch.log(noise.view_as(distance).clamp(1e-20, 1 - 1e-7)))
        return (-distance / self.config.temperature + gumbel).argmax(-1)

    @torch.no_grad()
    def _fill_codebook(self, vectors: Tensor) -> None:
        """Fill the codebook by k-means over the vectors (N, d) of all ranks."""
        vectors = _of_all_ranks(vectors)
        codes, counts = k_means(vectors, len(self.codes), self.config.kmeans_iterations)
        if ranks_together() > 1:
            dist.broadcast(codes, 0)
            dist.broadcast(counts, 0)
        self.codes.copy_(codes)
        self.code_sums.copy_(codes * counts[:, None])
        self.cluster_size.copy_(counts)
        self.initialised.fill_(True)

    @torch.no_grad()
    def _update_codebook(self, vectors: Tensor, indices: Tensor) -> None:
        """Move each code towards the vectors (N, d) that chose it."""
        counts = torch.zeros_like(self.cluster_size).index_add_(
            0, indices, torch.ones_like(indices, dtype=self.cluster_size.dtype)
        )
        sums = torch.zeros_like(self.code_sums).index_add_(0, indices, vectors)
        if ranks_together() > 1:
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
        """Replace codes that are hardly used by random vectors of the step."""
        dead = (self.cluster_size < self.config.dead_code_threshold).nonzero().flatten()
        if len(dead) == 0:
            return
        vectors = _of_all_ranks(vectors)
        drawn = _draw(vectors, len(dead))
        if ranks_together() > 1:
            dist.broadcast(drawn, 0)
        self.codes[dead] = drawn
        self.cluster_size[dead] = self.config.dead_code_threshold
        self.code_sums[dead] = drawn * self.config.dead_code_threshold


def _of_all_ranks(vectors: Tensor) -> Tensor:
    """The vectors (N, d) of all ranks, in their order; each has equally many."""
    if ranks_together() == 1:
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(ranks_together())]
    dist.all_gather(parts, vectors.contiguous())
    return torch.cat(parts)


def _draw(vectors: Tensor, count: int) -> Tensor:
    """Draw vectors with the default generator; only where there are too few, with repeats.

    Equal codes would be no better than one, and rounding would choose between them.
    """
    if len(vectors) >= count:
        return vectors[torch.randperm(len(vectors), device=vectors.device)[:count]]
    return vectors[torch.randint(len(vectors), (count,), device=vectors.device)]


def rotate(vectors: Tensor, codes: Tensor) -> Tensor:
    """The codes (..., d), with a gradient to the vectors (..., d) by the rotation trick.

    The gradient is rotated and scaled from the direction of each vector to that of its code
    (Fifty et al., 2024).
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
    """Cluster vectors (N, d); returns the means (count, d) and the cluster sizes (count,).

    Starts from vectors drawn with the default generator, with repeats if there are too few. The
    mean of an empty cluster stays where it is.
    """
    means = _draw(vectors, count)
    counts = torch.zeros(count, device=vectors.device)
    for _ in range(iterations):
        nearest = torch.cdist(vectors, means).argmin(-1)
        counts = torch.bincount(nearest, minlength=count).to(vectors.dtype)
        sums = torch.zeros_like(means).index_add_(0, nearest, vectors)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], means)
    return means, counts
