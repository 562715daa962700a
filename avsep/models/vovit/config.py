"""Sizes and settings of VoViT, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from avsep.schema import FPS
from avsep.validation import check_at_least, check_below, check_choice, check_odd

MODEL_RATE_HZ = 16_384  # the sample rate of the official models
NUM_SOURCES = 2  # divides the mixture's spectrum and multiplies the mask

Variant = Literal["speech-s1", "speech", "singing"]
ConvShape = tuple[int, int, int, int]
"""Kernel in time, kernel in frequency, dilation in time, dilation in frequency."""

_FULL_CONVS: tuple[ConvShape, ...] = (
    (1, 7, 1, 1),
    (7, 1, 1, 1),
    (5, 5, 1, 1),
    *((5, 5, 2**i, 1) for i in range(1, 6)),
    *((5, 5, 2**i, 2**i) for i in range(6)),
)

_DEMO_CONVS: tuple[ConvShape, ...] = (
    (1, 7, 1, 1),
    (7, 1, 1, 1),
    (5, 5, 1, 1),
    (5, 5, 2, 1),
    (5, 5, 4, 1),
    (5, 5, 8, 1),
    (5, 5, 2, 2),
    (5, 5, 4, 4),
)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


@dataclass(frozen=True, kw_only=True)
class SpectrumConfig:
    """The short-time spectrum of a clip of fixed length (see docs/models.md).

    Attributes:
        fft_size: length of the window and of the transform, in samples; even.
        hop: distance between spectral frames, in samples.
        num_frames: spectral frames per clip.
        bin_stride: the network sees every `bin_stride`-th bin, and each value of its mask covers
            `bin_stride` neighbouring bins.
    """

    fft_size: int = 1022
    hop: int = 256
    num_frames: int = 128
    bin_stride: int = 2

    def __post_init__(self) -> None:
        _require(
            self.fft_size >= 4 and self.fft_size % 2 == 0,
            f"fft_size is {self.fft_size}; it must be even and at least 4.",
        )
        _require(
            0 < self.hop <= self.fft_size // 3,
            f"hop is {self.hop}; it must be between 1 and {self.fft_size // 3}, a third of the"
            " window, or the samples between two windows have hardly any weight.",
        )
        _require(
            self.bin_stride > 0 and self.num_bins % self.bin_stride == 0,
            f"bin_stride is {self.bin_stride}; it must divide the {self.num_bins} bins.",
        )
        _require(
            self.clip_samples > self.fft_size // 2,
            f"num_frames is {self.num_frames}: a clip of {self.clip_samples} samples is too short"
            f" for windows of {self.fft_size}.",
        )

    @property
    def num_bins(self) -> int:
        """Bins of the whole spectrum, from DC to Nyquist."""
        return self.fft_size // 2 + 1

    @property
    def num_mask_bins(self) -> int:
        """Bins of the network's input and of its mask."""
        return self.num_bins // self.bin_stride

    @property
    def clip_samples(self) -> int:
        """Samples per clip: the largest number that gives `num_frames` frames."""
        return self.num_frames * self.hop - 1

    @property
    def clip_video_frames(self) -> int:
        """Landmark frames per clip."""
        return self.num_frames * self.hop * FPS // MODEL_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """The graph network over the landmarks.

    Attributes:
        channels: output channels of each block, first to last.
        kernel: kernel of the temporal convolutions, in frames; odd.
    """

    channels: tuple[int, ...] = (32, 32, 64, 64, 128, 128, 256, 256)
    kernel: int = 5

    def __post_init__(self) -> None:
        _require(
            bool(self.channels) and min(self.channels) > 0,
            f"channels is {self.channels}; give one positive width per block.",
        )
        check_odd(self, "kernel")


@dataclass(frozen=True, kw_only=True)
class AudioEncoderConfig:
    """The convolutional encoder of the mixture's spectrum.

    Attributes:
        channels: output channels of every layer but the last.
        out_channels: output channels of the last layer. Times the encoder's bins, they are the
            audio features per frame.
        convs: shapes of the convolutions before the last, which is always 1x1.
        frequency_stride: stride of the first convolution over frequency. 1 in the official models;
            2 halves the work of all following layers, while the mask keeps its resolution.
    """

    channels: int = 96
    out_channels: int = 8
    convs: tuple[ConvShape, ...] = _FULL_CONVS
    frequency_stride: int = 1

    def __post_init__(self) -> None:
        check_at_least(self, 1, "channels", "out_channels", "frequency_stride")
        _require(bool(self.convs), "convs is empty; give at least one shape.")
        for conv in self.convs:
            _require(
                min(conv) > 0 and conv[0] % 2 == 1 and conv[1] % 2 == 1,
                f"convs has {conv}; kernels must be odd and dilations positive.",
            )


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The audio-visual spectro-temporal transformer.

    Attributes:
        width: features per frame; also the length of the spectral encoder's sequences.
        heads: attention heads of every layer.
        feedforward: hidden units of every layer's feed-forward part.
        temporal_layers: layers of the encoder along time.
        spectral_layers: layers of the encoder along features; its width is the number of frames.
        decoder_layers: layers of the decoder along time.
        mask_hidden: hidden units between the decoder and the mask.
        dropout: dropout probability in training.
    """

    width: int = 512
    heads: int = 8
    feedforward: int = 1024
    temporal_layers: int = 10
    spectral_layers: int = 10
    decoder_layers: int = 10
    mask_hidden: int = 1024
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check_at_least(self, 1, "width", "heads", "feedforward", "mask_hidden")
        check_at_least(self, 1, "temporal_layers", "spectral_layers", "decoder_layers")
        check_below(self, 1, "dropout")
        _require(
            self.width % self.heads == 0,
            f"width is {self.width}; it must be a multiple of the {self.heads} heads.",
        )


@dataclass(frozen=True, kw_only=True)
class EnhancerConfig:
    """The lead-voice enhancer, a U-Net on magnitudes.

    Attributes:
        channels: output channels of each encoder block, first to last. The last block halves only
            frequency, the others halve frequency and time.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 256, 256)

    def __post_init__(self) -> None:
        _require(
            len(self.channels) >= 2 and min(self.channels) > 0,
            f"channels is {self.channels}; give at least two positive widths.",
        )


@dataclass(frozen=True, kw_only=True)
class VoViTConfig:
    """A VoViT model.

    Attributes:
        variant: `speech-s1` (one stage), `speech` (with the enhancer) or `singing` (one stage, for
            aligned landmarks in two dimensions).
        spectrum: sizes of the short-time spectrum.
        graph: sizes of the graph network.
        audio_encoder: sizes of the audio encoder.
        fusion: sizes of the transformer.
        enhancer: sizes of the enhancer; only used by the variant `speech`.
        round_landmarks: whether `estimate` rounds the smoothed landmarks to whole pixels. The
            official weights were trained that way. Rounding hides lip movements below one pixel, so
            our own models do not round.
    """

    variant: Variant = "speech-s1"
    spectrum: SpectrumConfig = field(default_factory=SpectrumConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    audio_encoder: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    enhancer: EnhancerConfig = field(default_factory=EnhancerConfig)
    round_landmarks: bool = False

    def __post_init__(self) -> None:
        frames, bins = self.spectrum.num_frames, self.spectrum.num_bins
        check_choice(self, get_args(Variant), "variant")
        _require(
            frames % self.fusion.heads == 0,
            f"num_frames is {frames}; it is the spectral encoder's width and must be a multiple"
            f" of the {self.fusion.heads} heads.",
        )
        _require(
            self.spectrum.num_mask_bins % self.audio_encoder.frequency_stride == 0,
            f"frequency_stride is {self.audio_encoder.frequency_stride}; it must divide the"
            f" {self.spectrum.num_mask_bins} bins of the mask.",
        )
        halvings = len(self.enhancer.channels)
        _require(
            self.variant != "speech"
            or (frames % 2 ** (halvings - 1) == 0 and bins % 2**halvings == 0),
            f"num_frames is {frames} and there are {bins} bins; an enhancer of {halvings} blocks"
            f" needs multiples of {2 ** (halvings - 1)} and {2**halvings}.",
        )

    @property
    def registers(self) -> bool:
        """Whether landmarks are 3-D and the model registers them to a mean face."""
        return self.variant != "singing"

    @property
    def landmark_dimensions(self) -> int:
        """Coordinates per landmark: 3, or 2 for singing."""
        return 3 if self.registers else 2

    @classmethod
    def full(cls, variant: Variant = "speech") -> VoViTConfig:
        """The official sizes.

        51,978,024 parameters as `speech-s1`, 60,076,585 as `speech`, 26,736,552 as `singing`.
        """
        if variant == "singing":
            return cls(
                variant=variant,
                spectrum=SpectrumConfig(num_frames=256),
                fusion=FusionConfig(temporal_layers=4, spectral_layers=4, decoder_layers=4),
            )
        return cls(variant=variant, round_landmarks=True)

    @classmethod
    def demo(cls, variant: Variant = "speech-s1") -> VoViTConfig:
        """A small model with the official spectrum that trains on two CPU cores in minutes.

        The first stage has about 0.6 M parameters, the enhancer 0.5 M. Clips are 2 s long, for
        `singing` 4 s.
        """
        return cls(
            variant=variant,
            spectrum=SpectrumConfig(num_frames=256 if variant == "singing" else 128),
            graph=GraphConfig(channels=(16, 16, 32, 32)),
            audio_encoder=AudioEncoderConfig(channels=16, convs=_DEMO_CONVS, frequency_stride=2),
            fusion=FusionConfig(
                width=64,
                heads=4,
                feedforward=128,
                temporal_layers=2,
                spectral_layers=2,
                decoder_layers=2,
                mask_hidden=128,
                # This narrow and with dropout, it learns to use the video sooner: twice the width
                # without dropout needed 200 steps for what this reaches in 100.
                dropout=0.2,
            ),
            enhancer=EnhancerConfig(channels=(8, 16, 32, 64, 64, 64)),
        )
