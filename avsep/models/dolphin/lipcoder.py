"""Pre-training of the lip encoder: reconstruct the video, commit to codes, learn from a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.lip_decoder import LipDecoder
from avsep.models.dolphin.lip_encoder import LipEncoder
from avsep.validation import check_at_least, check_choice

DistillKind = Literal["mse", "cosine"]


@dataclass(frozen=True, kw_only=True)
class LipCoderConfig:
    """Losses of the lip encoder's pre-training.

    The paper names the three losses, and its config gives weights of 1. The form of the losses and
    the teacher head are ours.

    Attributes:
        lip: sizes of the encoder.
        teacher_size: length of a teacher vector; 104 for `log_mel_targets`, 1024 for AV-HuBERT.
        recon_weight: weight of the mean squared error of the reconstructed video.
        commit_weight: weight of the distance between the encoder's output and its code.
        distill_weight: weight of the distance between the mapped codes and the teacher.
        distill: distance to the teacher: `mse` (mean squared error) or `cosine` (one minus the
            cosine similarity).
    """

    lip: LipEncoderConfig
    teacher_size: int = 104
    recon_weight: float = 1.0
    commit_weight: float = 1.0
    distill_weight: float = 1.0
    distill: DistillKind = "mse"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "teacher_size")
        check_at_least(self, 0, "recon_weight", "commit_weight", "distill_weight")
        check_choice(self, get_args(DistillKind), "distill")


class LipCoderPretraining(nn.Module):
    """The lip encoder with a video decoder and a teacher head, which only training needs.

    To use the trained encoder: `dolphin.lip_encoder.load_state_dict(pretraining.encoder.
    state_dict())`, then `dolphin.freeze_lip_encoder()`.
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
            Scalars: `loss` (the weighted sum), `recon`, `commit`, `distill`, `codes_used` (number
            of different codes in the batch) and `perplexity` (of their distribution; from 1 to the
            number of codes).

        Raises:
            ValueError: the teacher's shape does not fit the lips.
        """
        expected = (lips.shape[0], lips.shape[2], self.config.teacher_size)
        if tuple(teacher.shape) != expected:
            raise ValueError(
                f"teacher is {tuple(teacher.shape)}, not {expected}: one vector per lip frame."
            )
        features = self.encoder.encode_paths(lips)
        video = self.decoder(features.total)
        recon = F.mse_loss(video, self.encoder.preprocess(lips))
        predicted = self.head(features.quantised.features)
        if self.config.distill == "mse":
            distill = F.mse_loss(predicted, teacher)
        else:
            distill = 1 - F.cosine_similarity(predicted, teacher, dim=-1).mean()
        commit = features.quantised.commitment
        loss = (
            self.config.recon_weight * recon
            + self.config.commit_weight * commit
            + self.config.distill_weight * distill
        )
        used, perplexity = code_usage(features.quantised.indices, self.config.lip.quantiser.codes)
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
    """How many of `codes` codes occur in `indices` (int64), and the perplexity of their counts."""
    counts = torch.bincount(indices.flatten(), minlength=codes).float()
    share = counts / counts.sum()
    perplexity = torch.exp(-torch.special.xlogy(share, share).sum())
    return (counts > 0).sum().float(), perplexity
