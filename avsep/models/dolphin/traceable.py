"""Dolphin as one forward pass whose operations can be recorded for sound of any length.

Shapes: B items, L samples at 16 kHz, F lip frames at 25 per second, T frames, C channels.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin import blur
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.models.dolphin.sequence import correlate
from avsep.schema import LIPS_SIZE, SAMPLES_PER_FRAME, Cues


class TraceableDolphin(nn.Module):
    """What `Dolphin.estimate` computes, without checks and without branches on lengths.

    Args:
        model: in eval mode; it is copied.
    """

    cue = "lips"
    note = (
        "grey crops of the mouth as avsep extracts them, 25 per second, as many as"
        " ceil(samples / 640) or fewer."
    )

    def __init__(self, model: Dolphin) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.shortest = model.config.kernel
        self.model.plan_heat()
        for layer in self.model.modules():
            if isinstance(layer, HeatDiffusion):
                layer.__class__ = TraceableHeat

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """The voice (B, L) in a mixture (B, L) by the lips (B, F, 96, 96) uint8."""
        model = self.model
        features = model.lip_encoder(prepare_lips(lips, model.config.lip.image_size))
        video = model.video_trunk(model.lip_projection(features))
        encoded = self._encode(mixture)
        separated = model.separator(model.fusion(model.feature_projection(encoded), video))
        frames = model.output_layer(separated[:, : encoded.shape[1]])
        if model.config.mask:
            frames = F.relu(frames) * encoded
        return self._decode(frames, mixture.shape[1])

    def cues(self, lips: Tensor) -> Cues:
        """The lips as `Dolphin.estimate` takes them."""
        return Cues(lips=lips, landmarks=None, valid=None)

    def example(self, batch: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Random lips for sound of a length, (B, F, 96, 96)."""
        frames = -(-num_samples // SAMPLES_PER_FRAME)
        shape = (batch, frames, LIPS_SIZE, LIPS_SIZE)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def _encode(self, wave: Tensor) -> Tensor:
        """As `AudioEncoder` does, (B, L) to (B, T, C)."""
        encoder = self.model.audio_encoder
        frames = F.conv1d(wave[:, None], encoder.weight[:, None], stride=encoder.stride)
        return F.gelu(frames.transpose(1, 2))

    def _decode(self, frames: Tensor, length: int) -> Tensor:
        """As `AudioDecoder` does, (B, T, C) to (B, length)."""
        decoder = self.model.audio_decoder
        wave = F.conv_transpose1d(
            frames.transpose(1, 2), decoder.weight[:, None], stride=decoder.stride
        )
        beyond = F.linear(frames[:, -1], decoder.weight[:, -decoder.stride :].t())
        return torch.cat([wave[:, 0], beyond], dim=1)[:, :length]


class TraceableHeat(HeatDiffusion):
    """Chooses between the ways to blur while it runs.

    Where that depends on the length, both are computed: the matrix for few frames only.
    """

    def _blur(self, x: Tensor) -> Tensor:
        length = torch._shape_as_tensor(x)[1]
        radius = None if self.mode in ("dense", "fft") else self._radius
        if self.mode == "dense":
            return blur.dense(x, self.k)
        if radius is None:
            return _by_cosines(x, self.k, length)
        few = length.clamp(max=blur.SHORT_SIGNAL)
        short = _by_cosines(x.index_select(1, _numbers(few)), self.k, few)
        short = short.index_select(1, _numbers(length).clamp(max=few - 1))
        place = (_numbers(length + 2 * radius) - radius) % (2 * length)
        mirrored = x.index_select(1, torch.minimum(place, 2 * length - 1 - place))
        long = correlate(mirrored, self._taps(radius)[0][:, None], None)
        return torch.where(length > max(radius, blur.SHORT_SIGNAL), long, short)


def _numbers(end: Tensor) -> Tensor:
    """0, 1, 2 and so on below a number that is known when the graph runs."""
    return torch.arange(end)  # type: ignore[call-overload]


def _by_cosines(x: Tensor, k: Tensor, length: Tensor) -> Tensor:
    """Like `blur.exact`, by a matrix of any size. x (B, T, C), k (C,), length T."""
    number = _numbers(length)
    # Whole numbers are exact, so that float32 rounds only once before the cosine.
    angle = number[:, None] * (2 * number + 1) % (4 * length)
    matrix = torch.cos(angle.float() * (math.pi / (2 * length.float())))
    matrix = matrix * torch.where(number == 0, 1.0, math.sqrt(2))[:, None]
    omega = number.float() * (math.pi / length.float())
    decay = torch.exp(-omega.square()[:, None] * k)
    return matrix.t() @ (decay * (matrix @ x)) / length.float()
