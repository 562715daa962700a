"""Dolphin: audio-visual separation of one talker in the time domain.

Shapes: B items, L samples at 16 kHz, F lip frames at 25 per second, N mouths, T encoded frames
(one per `stride` samples), C channels, D lip features per frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin.audio import (
    AudioDecoder,
    AudioEncoder,
    FeatureProjection,
    OutputLayer,
    init_fourier,
)
from avsep.models.dolphin.config import DolphinConfig, HeatMode
from avsep.models.dolphin.fusion import Fusion
from avsep.models.dolphin.heat import HeatDiffusion, plan_layers
from avsep.models.dolphin.lip_encoder import LipEncoder
from avsep.models.dolphin.separator import Separator
from avsep.models.dolphin.video_trunk import LipProjection, VideoTrunk
from avsep.models.full_precision import check_format
from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME, Cues

LIPS_MEAN = 0.421
LIPS_STD = 0.165
LIP_CONTEXT = 10  # frames before and after a frame on which its lip features depend


class Dolphin(nn.Module):
    """Extracts the voice of the talker whose lips are given from a mixture (see docs/models.md).

    Args:
        config: sizes; `DolphinConfig.full()` is the released model.
    """

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        self.config = config
        self.lip_encoder = LipEncoder(config.lip)
        self.lip_projection = LipProjection(config.lip.feature_size, config.video_channels)
        self.video_trunk = VideoTrunk(config)
        self.audio_encoder = AudioEncoder(config.audio_channels, config.kernel, config.stride)
        self.feature_projection = FeatureProjection(config.audio_channels, config.channels)
        self.fusion = Fusion(config.channels, config.video_channels)
        self.separator = Separator(config)
        self.output_layer = OutputLayer(config.channels, config.audio_channels)
        self.audio_decoder = AudioDecoder(config.audio_channels, config.kernel, config.stride)
        if config.front_end == "fourier":
            init_fourier(self.audio_encoder, self.audio_decoder)
        if config.mask:  # start with a mask of about one, which passes the mixture
            nn.init.ones_(self.output_layer.out.bias)

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """Estimate the voice of the talker whose lips are given.

        Args:
            mixture: (B, L) float32 with L at least `config.kernel`.
            lips: (B, 1, F, H, W) float32, normalised, H = W = `config.lip.image_size`.

        Returns:
            (B, 1, L) float32, at the level of the mixture.

        Raises:
            ValueError: shapes do not fit, or a value is not finite (only checked outside training
                and compiled code).
        """
        self._check(mixture, lips)
        if not (self.training or torch.compiler.is_compiling()):
            _check_finite(mixture=mixture, lips=lips)
        features = self.encode_lips(lips)
        return self._separate(self.audio_encoder(mixture), features, mixture.shape[-1])

    def encode_lips(self, lips: Tensor) -> Tensor:
        """Lips (B, 1, F, H, W) to features (B, F, D), which can be stored and reused.

        The features of a frame depend on a few frames before and after it (`LIP_CONTEXT`), and with
        `lip.motion_only` also on the mean picture of all given frames.
        """
        trained = any(parameter.requires_grad for parameter in self.lip_encoder.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and (trained or lips.requires_grad)):
            return self.lip_encoder(lips)

    def separate_features(self, mixture: Tensor, features: Tensor) -> Tensor:
        """Like `forward`, but from lip features (B, F, D) of `encode_lips`; returns (B, 1, L).

        Raises:
            ValueError: see `forward`.
        """
        size = self.config.lip.feature_size
        if features.ndim != 3 or features.shape[2] != size:
            raise ValueError(f"lip features must be (B, F, {size}), not {tuple(features.shape)}.")
        self._check_pair(mixture, features, features.shape[1], "lip features")
        if not (self.training or torch.compiler.is_compiling()):
            _check_finite(mixture=mixture, features=features)
        return self._separate(self.audio_encoder(mixture), features, mixture.shape[-1])

    def separate(self, mixture: Tensor, lips: Tensor, *, rate_hz: int = RATE_HZ) -> Tensor:
        """Estimate the voices of N mouths in each mixture; each mixture is encoded once.

        Args:
            mixture: (B, L) float32.
            lips: (B, N, 1, F, H, W) float32, normalised.
            rate_hz: sample rate of the mixture; must be 16000.

        Returns:
            (B, N, L) float32.

        Raises:
            ValueError: shapes do not fit, the rate is wrong, or a value is not finite.
        """
        if rate_hz != RATE_HZ:
            raise ValueError(f"the mixture has a rate of {rate_hz} Hz; resample to {RATE_HZ}.")
        if lips.ndim != 6:
            raise ValueError(f"lips must be (B, N, 1, F, H, W), not {tuple(lips.shape)}.")
        batch, mouths = lips.shape[:2]
        lips = lips.flatten(0, 1)
        self._check(mixture, lips, mouths)
        _check_finite(mixture=mixture, lips=lips)
        encoded = self.audio_encoder(mixture).repeat_interleave(mouths, dim=0)
        estimate = self._separate(encoded, self.encode_lips(lips), mixture.shape[-1])
        return estimate.view(batch, mouths, -1)

    def estimate(self, mixture: Tensor, cues: Cues) -> Tensor:
        """Estimate the voice of the talker from cues as they are stored in shards.

        Args:
            mixture: (B, L) float32 at 16 kHz.
            cues: batched tensors; only `lips` (B, F, 96, 96) uint8 is used.

        Returns:
            (B, L) float32 at 16 kHz.
        """
        return self(mixture, prepare_lips(cues.lips, self.config.lip.image_size)).squeeze(1)

    def freeze_lip_encoder(self) -> Dolphin:
        """Freeze the lip encoder: no gradients, and eval mode even while training.

        In training mode its quantiser would sample codes and update its codebook.
        """
        self.lip_encoder.requires_grad_(False).eval()
        return self

    def train(self, mode: bool = True) -> Dolphin:
        """Set training or eval mode; a frozen lip encoder stays in eval mode."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.lip_encoder.parameters()):
            self.lip_encoder.eval()
        return self

    def set_heat(self, mode: HeatMode) -> Dolphin:
        """Choose how heat diffusion is computed, see `blur`; the weights do not change."""
        for module in self.modules():
            if isinstance(module, HeatDiffusion):
                module.mode = mode
        return self

    def plan_heat(self) -> None:
        """Choose filter widths for the current weights; see `heat.plan_layers`."""
        plan_layers(m for m in self.modules() if isinstance(m, HeatDiffusion))

    def _separate(self, encoded: Tensor, features: Tensor, length: int) -> Tensor:
        video = self.video_trunk(self.lip_projection(features))
        separated = self.separator(self.fusion(self.feature_projection(encoded), video))
        frames = self.output_layer(separated[:, : encoded.shape[1]])
        if self.config.mask:
            frames = F.relu(frames) * encoded
        return self.audio_decoder(frames, length).unsqueeze(1)

    def _check(self, mixture: Tensor, lips: Tensor, mouths: int = 1) -> None:
        size = self.config.lip.image_size
        if lips.ndim != 5 or lips.shape[1] != 1 or tuple(lips.shape[3:]) != (size, size):
            raise ValueError(
                f"lips must be (B, 1, F, {size}, {size}), not {tuple(lips.shape)};"
                " stored crops of 96 pixels go through `estimate` or `prepare_lips`."
            )
        self._check_pair(mixture, lips, lips.shape[2], "lips", mouths)

    def _check_pair(
        self, mixture: Tensor, seen: Tensor, frames: int, name: str, mouths: int = 1
    ) -> None:
        """Check the formats of mixtures and of what belongs to them, and that they fit together."""
        if mixture.ndim != 2 or mixture.shape[1] < self.config.kernel:
            raise ValueError(
                f"mixture must be (B, L) with L at least {self.config.kernel},"
                f" not {tuple(mixture.shape)}."
            )
        if mixture.shape[0] == 0 or mouths == 0:
            raise ValueError(
                f"there is nothing to separate: {mixture.shape[0]} mixtures, {mouths} mouths each;"
                " give at least one."
            )
        check_format(self.audio_encoder.weight, mixture=mixture, **{name.replace(" ", "_"): seen})
        if seen.shape[0] != mixture.shape[0] * mouths:
            raise ValueError(
                f"there are {mixture.shape[0]} mixtures but {seen.shape[0] // mouths} videos;"
                " give one video per mixture."
            )
        most = -(-mixture.shape[1] // SAMPLES_PER_FRAME)
        if not 1 <= frames <= most:
            raise ValueError(
                f"{frames} lip frames for {mixture.shape[1]} samples: there must be 1 to"
                f" {most}; cut the video to the sound (25 frames and 16000 samples per second)."
            )


def prepare_lips(lips: Tensor, size: int) -> Tensor:
    """Stored crops (B, F, 96, 96) uint8 to normalised (B, 1, F, size, size) float32.

    Takes the centre of each crop, scales values to 0..1, and normalises them by the mean and
    standard deviation of the released model.

    Raises:
        ValueError: the shape or type is wrong, or the crops are smaller than `size`.
    """
    if lips.dtype != torch.uint8 or lips.ndim != 4 or min(lips.shape[2:]) < size:
        raise ValueError(
            f"lips must be (B, F, H, W) uint8 with H and W at least {size}, not"
            f" {tuple(lips.shape)} {lips.dtype}."
        )
    top, left = ((side - size) // 2 for side in lips.shape[2:])
    centre = lips[:, None, :, top : top + size, left : left + size]
    return (centre.float() / 255 - LIPS_MEAN) / LIPS_STD


def _check_finite(**tensors: Tensor) -> None:
    """Check tensors on the CPU; a GPU would have to be waited for, and gives NaN for NaN."""
    for name, tensor in tensors.items():
        if tensor.is_cpu and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite values; drop or repair the clip.")
