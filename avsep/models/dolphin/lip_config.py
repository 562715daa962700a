"""Sizes and settings of the lip encoder, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field

from avsep.validation import check_at_least, check_below, check_odd

LAYER_KINDS = (
    "residual",
    "consecutive_residual",
    "compress_space",
    "linear_attend_space",
    "attend_space",
)

FULL_LAYERS = (
    "residual",
    "compress_space",
    "consecutive_residual",
    "compress_space",
    "consecutive_residual",
    "linear_attend_space",
    "compress_space",
    "consecutive_residual",
    "attend_space",
)


@dataclass(frozen=True, kw_only=True)
class QuantiserConfig:
    """Settings of the vector quantiser in the semantic path.

    Attributes:
        codes: number of entries in the codebook.
        code_size: length of one entry.
        decay: decay of the moving averages that update the codebook.
        temperature: scale of the Gumbel noise when codes are sampled in training, in units of
            distance.
        kmeans_iterations: iterations of the k-means that fills the codebook on the first training
            batch.
        dead_code_threshold: a code whose moving count falls below this is replaced by a vector of
            the batch. 0 never replaces a code, as in the training of the released model.
    """

    codes: int = 256
    code_size: int = 64
    decay: float = 0.8
    temperature: float = 0.1
    kmeans_iterations: int = 10
    dead_code_threshold: float = 0.0

    def __post_init__(self) -> None:
        check_at_least(self, 1, "codes", "code_size", "kmeans_iterations")
        check_below(self, 1, "decay")
        check_at_least(self, 0, "temperature", "dead_code_threshold")


@dataclass(frozen=True, kw_only=True)
class LipEncoderConfig:
    """Sizes of DP-LipCoder's two encoders, which have the same shape, and of its quantiser.

    Attributes:
        image_size: side of the mouth crop, in pixels.
        motion_only: whether the mean picture of the clip is subtracted first, so that the encoder
            sees only motion. The released model sees the whole picture. A model trained on few
            faces separates new faces better with motion only: it cannot memorise appearances.
        shrink: side of the squares over which the crop is averaged, in pixels; 1 for none.
        layers: kinds of the layers after the first convolution, see `LAYER_KINDS`.
        first_channels: output channels of the first convolution.
        max_channels: limit up to which `compress_space` doubles the channels.
        first_kernel: kernel of the first convolution over time, height and width; odd.
        unit_kernel: kernel of the residual units in all three dimensions; odd.
        heads: heads of the full spatial attention.
        head_size: channels per head of the full spatial attention.
        linear_heads: heads of the linear spatial attention.
        linear_head_size: channels per head of the linear spatial attention.
        quantiser: settings of the quantiser.
    """

    image_size: int = 88
    motion_only: bool = False
    shrink: int = 1
    layers: tuple[str, ...] = FULL_LAYERS
    first_channels: int = 4
    max_channels: int = 32
    first_kernel: tuple[int, int, int] = (7, 7, 7)
    unit_kernel: int = 3
    heads: int = 8
    head_size: int = 32
    linear_heads: int = 16
    linear_head_size: int = 8
    quantiser: QuantiserConfig = field(default_factory=QuantiserConfig)

    def __post_init__(self) -> None:
        check_at_least(self, 1, "image_size", "shrink", "first_channels", "max_channels")
        check_at_least(self, 1, "heads", "head_size", "linear_heads", "linear_head_size")
        check_odd(self, "unit_kernel")
        if unknown := [kind for kind in self.layers if kind not in LAYER_KINDS]:
            raise ValueError(f"layers has {unknown}; they may be {', '.join(LAYER_KINDS)}.")
        if any(size < 1 or size % 2 == 0 for size in self.first_kernel):
            raise ValueError(f"first_kernel is {self.first_kernel}; its sizes must be odd.")
        if self.image_size % self.shrink:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of shrink {self.shrink}."
            )

    @classmethod
    def demo(cls) -> LipEncoderConfig:
        """A small encoder at 22 pixels: 72,222 parameters, 576 features per frame."""
        return cls(
            motion_only=True,
            shrink=4,
            layers=(
                "residual",
                "compress_space",
                "residual",
                "compress_space",
                "residual",
                "attend_space",
            ),
            first_channels=8,
            max_channels=16,
            first_kernel=(5, 5, 5),
            heads=4,
            head_size=8,
            quantiser=QuantiserConfig(codes=64, code_size=16, dead_code_threshold=1.0),
        )

    @property
    def channels(self) -> int:
        """Channels after the last layer."""
        channels = self.first_channels
        for kind in self.layers:
            if kind == "compress_space":
                channels = min(2 * channels, self.max_channels)
        return channels

    @property
    def map_size(self) -> int:
        """Side of the feature map after the last layer."""
        size = self.image_size // self.shrink
        for kind in self.layers:
            if kind == "compress_space":
                size = (size + 1) // 2
        return size

    @property
    def feature_size(self) -> int:
        """Length of the feature vector of one frame."""
        return self.channels * self.map_size**2
