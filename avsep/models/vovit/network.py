"""The two stages, from normalised clips and registered landmarks to waveforms.

Without checks and branches on data, so that `torch.compile` makes one graph of it.

Shapes: B items, N samples per clip, F bins of the spectrum, M bins of the mask, T spectral frames,
K landmark frames, V = 68 landmarks.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from avsep.models.vovit import fused
from avsep.models.vovit.audio_encoder import AudioEncoder
from avsep.models.vovit.config import NUM_SOURCES, SpectrumConfig, VoViTConfig
from avsep.models.vovit.enhancer import Enhancer
from avsep.models.vovit.graph import GraphNetwork
from avsep.models.vovit.stft import istft, kernels_serve, stft
from avsep.models.vovit.transformer import FusionTransformer


class Details(NamedTuple):
    """Results of a forward pass. Complex tensors are complex64, the others float32.

    Attributes:
        waveform: (B, N), output of the last stage at the level of the normalised mixture.
        logits: (B, 2, M, T), real and imaginary part of the first stage's mask, unbounded.
        mask: (B, M, T) complex, the logits times the number of sources.
        mixture_spectrum: (B, F, T) complex, divided by the number of sources.
        stage1_spectrum: (B, F, T) complex, output of the first stage.
        stage1_waveform: (B, N), output of the first stage.
        enhancer_mask: (B, F, T) in 0..1; None if there is no second stage.
        spectrum: (B, F, T) complex, output of the last stage.
    """

    waveform: Tensor
    logits: Tensor
    mask: Tensor
    mixture_spectrum: Tensor
    stage1_spectrum: Tensor
    stage1_waveform: Tensor
    enhancer_mask: Tensor | None
    spectrum: Tensor


class Stage1(nn.Module):
    """Mixture spectrum and landmarks to the logits of a complex mask."""

    def __init__(self, config: VoViTConfig) -> None:
        super().__init__()
        self.bin_stride = config.spectrum.bin_stride
        encoder = config.audio_encoder
        bins = config.spectrum.num_mask_bins // encoder.frequency_stride
        self.graph = GraphNetwork(config.graph)
        self.audio_encoder = AudioEncoder(encoder)
        self.fusion = FusionTransformer(
            config.graph.channels[-1] + encoder.out_channels * bins,
            config.spectrum.num_frames,
            config.spectrum.num_mask_bins,
            config.fusion,
        )

    def forward(self, mixture_BFT: Tensor, points_BKV2: Tensor) -> Tensor:
        """Mask logits (B, 2, M, T) in float32.

        Args:
            mixture_BFT: complex spectrum, divided by the number of sources.
            points_BKV2: x and y of registered landmarks, in pixels.
        """
        if fused.serves(self, points_BKV2):
            return fused.logits(self, mixture_BFT, points_BKV2)
        kept = torch.view_as_real(mixture_BFT[:, :: self.bin_stride])
        visual_BTC = self.graph(points_BKV2, mixture_BFT.shape[-1])
        audio_BTC = self.audio_encoder(rearrange(kept, "b f t n -> b n t f"))
        return self.fusion(visual_BTC, audio_BTC).float()


class VoViTNetwork(nn.Module):
    """Both stages, or the first one alone.

    Attributes:
        compute_dtype: precision of the networks; None follows the surrounding autocast. Spectra
            stay in float32.
    """

    def __init__(self, config: VoViTConfig) -> None:
        super().__init__()
        self.spectrum: SpectrumConfig = config.spectrum
        self.compute_dtype: torch.dtype | None = None
        self.stage1 = Stage1(config)
        self.enhancer = Enhancer(config.enhancer) if config.variant == "speech" else None

    def forward(self, mixture_BN: Tensor, points_BKV2: Tensor) -> Details:
        """Separate clips.

        Args:
            mixture_BN: peak-normalised, at 16,384 Hz, exactly `clip_samples` long.
            points_BKV2: x and y of registered landmarks, in pixels.
        """
        num_samples = mixture_BN.shape[1]
        mixture_BFT = self.mixture_spectrum(mixture_BN)
        with self._precision(mixture_BN.device):
            logits_B2MT = self.stage1(mixture_BFT, points_BKV2)
        mask_BMT, stage1_BFT = self.apply_mask(logits_B2MT, mixture_BFT)
        stage1_BN = istft(stage1_BFT, self.spectrum, num_samples)
        if self.enhancer is None:
            enhancer_mask, spectrum_BFT, waveform_BN = None, stage1_BFT, stage1_BN
        else:
            with self._precision(mixture_BN.device):
                enhancer_mask = self.enhancer(stage1_BFT.abs()).float()
            spectrum_BFT = enhancer_mask * stage1_BFT
            waveform_BN = istft(spectrum_BFT, self.spectrum, num_samples)
        return Details(
            waveform=waveform_BN,
            logits=logits_B2MT,
            mask=mask_BMT,
            mixture_spectrum=mixture_BFT,
            stage1_spectrum=stage1_BFT,
            stage1_waveform=stage1_BN,
            enhancer_mask=enhancer_mask,
            spectrum=spectrum_BFT,
        )

    def mixture_spectrum(self, mixture_BN: Tensor) -> Tensor:
        """(B, F, T) complex spectrum, divided by the number of sources."""
        return stft(mixture_BN, self.spectrum, NUM_SOURCES)

    def apply_mask(self, logits_B2MT: Tensor, mixture_BFT: Tensor) -> tuple[Tensor, Tensor]:
        """The complex mask (B, M, T), and the spectrum (B, F, T) under it.

        Each value of the mask covers `bin_stride` neighbouring bins.
        """
        if kernels_serve(logits_B2MT):
            return fused.apply_mask(logits_B2MT, mixture_BFT)
        mask_BMT = NUM_SOURCES * torch.complex(logits_B2MT[:, 0], logits_B2MT[:, 1])
        widened_BFT = repeat(mask_BMT, "b m t -> b (m s) t", s=self.spectrum.bin_stride)
        return mask_BMT, widened_BFT * mixture_BFT

    def _precision(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        if self.compute_dtype is None:
            return contextlib.nullcontext()
        half = self.compute_dtype != torch.float32
        return torch.autocast(device.type, dtype=self.compute_dtype if half else None, enabled=half)
