"""The convolutional encoder of the mixture's spectrum: four fifths of the model's computation.

Shapes: B items, T spectral frames, F bins, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsep.models.gpu.convolution import Conv2d
from avsep.models.vovit.config import AudioEncoderConfig, ConvShape

NEGATIVE_SLOPE = 0.1


class ConvLayer(nn.Module):
    """Convolution, batch normalisation, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, shape: ConvShape, frequency_stride: int = 1
    ) -> None:
        super().__init__()
        kernel_t, kernel_f, dilation_t, dilation_f = shape
        self.conv = Conv2d(
            in_channels,
            out_channels,
            (kernel_t, kernel_f),
            stride=(1, frequency_stride),
            padding=(dilation_t * (kernel_t // 2), dilation_f * (kernel_f // 2)),
            dilation=(dilation_t, dilation_f),
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) to (B, C', T, F / stride), in the dtype of the input."""
        # On a GPU, folding takes seven launches to save one.
        if self.training or not x_BCTF.is_cpu:
            return F.leaky_relu(self.norm(self.conv(x_BCTF)), NEGATIVE_SLOPE, inplace=True)
        weight, bias = self._folded()
        y = F.conv2d(
            x_BCTF,
            weight.to(x_BCTF.dtype),
            bias.to(x_BCTF.dtype),
            self.conv.stride,
            self.conv.padding,
            self.conv.dilation,
        )
        return F.leaky_relu(y, NEGATIVE_SLOPE, inplace=True)

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution with the frozen normalisation folded in.

        This costs next to nothing and saves one pass over the large output. It is computed in
        float32 at every call, so that it cannot become outdated.
        """
        norm, conv = self.norm, self.conv
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert conv.bias is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = conv.weight * scale[:, None, None, None]
        return weight, (conv.bias - norm.running_mean) * scale + norm.bias


class AudioEncoder(nn.Module):
    """Spectrum to audio features per spectral frame.

    Attributes:
        compute_dtype: precision of the convolutions; None follows the surrounding autocast.
            bfloat16 more than doubles the speed on CPUs with AMX.
    """

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.compute_dtype: torch.dtype | None = None
        width = config.channels
        layers = [ConvLayer(2, width, config.convs[0], config.frequency_stride)]
        layers += [ConvLayer(width, width, shape) for shape in config.convs[1:]]
        layers.append(ConvLayer(width, config.out_channels, (1, 1, 1, 1)))
        self.layers = nn.ModuleList(layers)

    def forward(self, spectrum_B2TF: Tensor) -> Tensor:
        """Real and imaginary parts (B, 2, T, F) to features (B, T, C F')."""
        dtype = self.compute_dtype
        kind = spectrum_B2TF.device.type
        if dtype is None:
            x = self._convolve(spectrum_B2TF)
        else:
            with torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32):
                x = self._convolve(spectrum_B2TF.to(dtype)).float()
        return rearrange(x, "b c t f -> b t (c f)")

    def _convolve(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x)
        return x
