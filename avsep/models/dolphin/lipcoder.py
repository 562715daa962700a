"""Pre-training of the lip encoder: rebuild the video, commit to codes, learn from a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.lip_decoder import LipDecoder
from avsep.models.dolphin.lip_encoder import LipEncoder


@dataclass(frozen=True, kw_only=True)
class LipCoderConfig:
    """What the lip encoder is pre-trained for.

    The paper names the three losses and its config gives both weights as 1; the form of the
    losses and the teacher head are ours.

    Attributes:
        lip: sizes of the encoder.
        teacher_size: length of a teacher vector (104 for `log_mel_targets`, 1024 for AV-HuBERT).
        recon_weight: of the mean squared error of the rebuilt video.
        commit_weight: of the distance between the encoder's output and the code it takes.
        distill_weight: of the distance between the mapped codes and the teacher.
        distill: mean squared error, or one minus the cosine.
    """

    lip: LipEncoderConfig
    teacher_size: int = 104
    recon_weight: float = 1.0
    commit_weight: float = 1.0
    distill_weight: float = 1.0
    distill: Literal["mse", "cosine"] = "mse"

    def __post_init__(self) -> None:
        if self.teacher_size < 1:
            raise ValueError(f"teacher_size is {self.teacher_size}; it must be at least 1.")
        if min(self.recon_weight, self.commit_weight, self.distill_weight) < 0:
            raise ValueError("the weights of the losses must not be negative.")


class LipCoderPretraining(nn.Module):
    """The lip encoder with what it needs to learn: a decoder and a head for the teacher.

    After training only `encoder` is kept: `dolphin.lip_encoder.load_state_dict(...)` of its
    state, then `dolphin.freeze_lip_encoder()`.
    """

    def __init__(self, config: LipCoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = LipEncoder(config.lip)
        self.decoder = LipDecoder(config.lip)
        self.head = nn.Linear(config.lip.feature_size, config.teacher_size)

    def forward(self, lips: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Losses and code statistics of a batch.

        Args:
            lips: (B, 1, F, H, W) float32, normalised.
            teacher: (B, F, teacher_size) float32.

        Returns:
            Scalars: `loss` (the weighted sum), `recon`, `commit`, `distill`, `codes_used` (how
            many codes the batch took), `perplexity` (of their distribution; 1 to the codes).

        Raises:
            ValueError: the teacher does not fit the lips.
        """
        wanted = (lips.shape[0], lips.shape[2], self.config.teacher_size)
        if tuple(teacher.shape) != wanted:
            raise ValueError(
                f"teacher is {tuple(teacher.shape)}, not {wanted}: one vector a lip frame."
            )
        seen = self.encoder.paths(lips)
        rebuilt = self.decoder(seen.total)
        recon = F.mse_loss(rebuilt, self.encoder.shown(lips))
        said = self.head(seen.quantised.features)
        if self.config.distill == "mse":
            distill = F.mse_loss(said, teacher)
        else:
            distill = 1 - F.cosine_similarity(said, teacher, dim=-1).mean()
        commit = seen.quantised.commitment
        loss = (
            self.config.recon_weight * recon
            + self.config.commit_weight * commit
            + self.config.distill_weight * distill
        )
        used, perplexity = code_usage(seen.quantised.indices, self.config.lip.quantiser.codes)
        return {
            "loss": loss,
            "recon": recon,
            "commit": commit,
            "distill": distill,
            "codes_used": used,
            "perplexity": perplexity,
        }


@torch.no_grad()
def code_usage(indices: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """How many of `codes` codes occur in int64 indices, and the perplexity of how often."""
    counts = torch.bincount(indices.flatten(), minlength=codes).float()
    share = counts / counts.sum()
    perplexity = torch.exp(-torch.special.xlogy(share, share).sum())
    return (counts > 0).sum().float(), perplexity
