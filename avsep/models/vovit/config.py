"""Every size of a VoViT model as one frozen, JSON-able config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RATE_HZ = 16_384  # the model's own sample rate
FPS = 25  # landmark frames a second
NUM_SOURCES = 2  # the mixture's spectrum is divided by it, the mask multiplied

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
    """The short-time spectrum (see docs/models.md), of a clip of fixed length.

    Attributes:
        fft_size: samples of the window and of the transform; even.
        hop: samples from one frame to the next.
        num_frames: spectral frames T of a clip.
        bin_stride: every how many-th bin the network sees and masks; each mask value then covers
            that many bins.
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
            f"hop is {self.hop}; it must be in 1..{self.fft_size // 3} (a third of the window),"
            " or what lies between two windows is hardly seen.",
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
        """Bins that the network sees, and that its mask has."""
        return self.num_bins // self.bin_stride

    @property
    def clip_samples(self) -> int:
        """Samples of a clip: the most that give `num_frames` frames."""
        return self.num_frames * self.hop - 1

    @property
    def clip_video_frames(self) -> int:
        """Landmark frames that a clip spans."""
        return self.num_frames * self.hop * FPS // RATE_HZ


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """The graph network over the landmarks.

    Attributes:
        channels: of each block's output, first to last.
        kernel: frames that a block's temporal convolution spans; odd.
    """

    channels: tuple[int, ...] = (32, 32, 64, 64, 128, 128, 256, 256)
    kernel: int = 5

    def __post_init__(self) -> None:
        _require(
            bool(self.channels) and min(self.channels) > 0,
            f"channels is {self.channels}; it needs one positive width a block.",
        )
        _require(self.kernel % 2 == 1, f"kernel is {self.kernel}; it must be odd.")


@dataclass(frozen=True, kw_only=True)
class AudioEncoderConfig:
    """The convolutional encoder of the mixture's spectrum.

    Attributes:
        channels: of every hidden layer.
        out_channels: of the last layer; times the encoder's bins, the audio features of a frame.
        convs: shapes of the convolutions before the last, which is always 1x1.
        frequency_stride: of the first convolution. 1 in the official models; 2 halves the work of
            all that follow, while the mask keeps its resolution.
    """

    channels: int = 96
    out_channels: int = 8
    convs: tuple[ConvShape, ...] = _FULL_CONVS
    frequency_stride: int = 1

    def __post_init__(self) -> None:
        _require(
            min(self.channels, self.out_channels, self.frequency_stride) > 0,
            "channels, out_channels and frequency_stride must be positive, not"
            f" {self.channels}, {self.out_channels}, {self.frequency_stride}.",
        )
        _require(bool(self.convs), "convs is empty; the encoder needs at least one.")
        for conv in self.convs:
            _require(
                min(conv) > 0 and conv[0] % 2 == 1 and conv[1] % 2 == 1,
                f"convs has {conv}; kernels must be odd and dilations positive.",
            )


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """The audio-visual spectro-temporal transformer.

    Attributes:
        width: features of a frame; also the length of the spectral encoder's sequences.
        heads: attention heads of every layer.
        feedforward: hidden units of every layer's feed-forward part.
        temporal_layers: of the encoder along time.
        spectral_layers: of the encoder along features (its width is the number of frames).
        decoder_layers: of the decoder along time.
        mask_hidden: hidden units of the layers that turn features into the mask.
        dropout: probability, in training.
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
        _require(
            self.heads > 0 and self.width > 0 and self.width % self.heads == 0,
            f"width is {self.width}; it must be a multiple of the {self.heads} heads.",
        )
        _require(
            min(self.feedforward, self.mask_hidden) > 0,
            f"feedforward and mask_hidden must be positive, not {self.feedforward},"
            f" {self.mask_hidden}.",
        )
        _require(
            min(self.temporal_layers, self.spectral_layers, self.decoder_layers) > 0,
            "each stack needs at least one layer.",
        )
        _require(0 <= self.dropout < 1, f"dropout is {self.dropout}; it must be in [0, 1).")


@dataclass(frozen=True, kw_only=True)
class EnhancerConfig:
    """The lead-voice enhancer, a U-Net on magnitudes.

    Attributes:
        channels: of each encoder block, first to last; all but the last halve both axes, the last
            one halves frequency only.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 256, 256)

    def __post_init__(self) -> None:
        _require(
            len(self.channels) >= 2 and min(self.channels) > 0,
            f"channels is {self.channels}; it needs at least two positive widths.",
        )


@dataclass(frozen=True, kw_only=True)
class VoViTConfig:
    """A VoViT model.

    Attributes:
        variant: `speech-s1` (one stage), `speech` (with the enhancer) or `singing` (one stage,
            landmarks in two dimensions that come aligned).
        spectrum: see the class.
        graph: see the class.
        audio_encoder: see the class.
        fusion: see the class.
        enhancer: see the class; only `speech` builds one.
        round_landmarks: whether `estimate` rounds the smoothed landmarks to whole pixels, as the
            official preparation does. The official weights were trained so; rounding hides
            movements of the lips below a pixel, so our own models leave it out.
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
        _require(
            self.variant in ("speech-s1", "speech", "singing"),
            f"variant is {self.variant!r}; it may be 'speech-s1', 'speech' or 'singing'.",
        )
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
            f"an enhancer of {halvings} blocks needs frames in multiples of {2 ** (halvings - 1)}"
            f" and bins in multiples of {2**halvings}, not {frames} and {bins}.",
        )

    @property
    def registers(self) -> bool:
        """Whether landmarks are 3-D and registered to a mean face inside the model."""
        return self.variant != "singing"

    @property
    def landmark_dimensions(self) -> int:
        """Coordinates a landmark comes with: 3, or 2 for singing."""
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
        """A small model of the same shape, to be trained on two CPU cores in minutes.

        The spectrum is the official one. About 0.6 M parameters in the first stage, 0.5 M in the
        enhancer. For 2 s clips; `singing` is as small, with clips of 4 s.
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
                # Narrower and with dropout it learns to look sooner: at twice the width without,
                # 200 steps gave what 100 give so (docs/benchmarks.md).
                dropout=0.2,
            ),
            enhancer=EnhancerConfig(channels=(8, 16, 32, 64, 64, 64)),
        )
