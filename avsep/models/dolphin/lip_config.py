"""Sizes and settings of the lip encoder, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
        codes: entries of the codebook.
        code_size: length of one entry.
        decay: of the moving averages that the codebook is learned by.
        temperature: of the Gumbel noise that draws codes in training, in units of distance.
        kmeans_iterations: of the k-means that fills the codebook on the first training batch.
        dead_code_threshold: a code whose moving count falls below it is replaced by a vector of
            the batch; 0 never replaces, as the released model was trained.
    """

    codes: int = 256
    code_size: int = 64
    decay: float = 0.8
    temperature: float = 0.1
    kmeans_iterations: int = 10
    dead_code_threshold: float = 0.0

    def __post_init__(self) -> None:
        require_positive(self, "codes", "code_size", "kmeans_iterations")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}; it must be at least 0 and below 1.")
        if self.temperature < 0 or self.dead_code_threshold < 0:
            raise ValueError("temperature and dead_code_threshold must not be negative.")


@dataclass(frozen=True, kw_only=True)
class LipEncoderConfig:
    """Sizes of DP-LipCoder's two encoders (equal in shape) and its quantiser.

    Attributes:
        image_size: side of the mouth picture, in pixels.
        motion_only: the mean picture of the clip is taken off first, so that only what moves is
            seen. The released model sees the whole picture; a model that is trained on a few faces
            separates new ones better without it, since it cannot know them by their looks.
        shrink: the picture is averaged over squares of this side; 1 leaves it as it is.
        layers: what follows the first convolution, see `LAYER_KINDS`.
        first_channels: of the first convolution.
        max_channels: `compress_space` doubles the channels up to here.
        first_kernel: of the first convolution over time, height, width; odd.
        unit_kernel: of the residual units, in all three directions; odd.
        heads: of the full spatial attention.
        head_size: of the full spatial attention.
        linear_heads: of the linear spatial attention.
        linear_head_size: of the linear spatial attention.
        quantiser: see `QuantiserConfig`.
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
        require_positive(self, "image_size", "shrink", "first_channels", "max_channels")
        require_positive(self, "heads", "head_size", "linear_heads", "linear_head_size")
        if unknown := [kind for kind in self.layers if kind not in LAYER_KINDS]:
            raise ValueError(f"layers has {unknown}; known are {', '.join(LAYER_KINDS)}.")
        if any(size < 1 or size % 2 == 0 for size in (*self.first_kernel, self.unit_kernel)):
            raise ValueError("first_kernel and unit_kernel must be odd.")
        if self.image_size % self.shrink:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of shrink {self.shrink}."
            )

    @classmethod
    def demo(cls) -> LipEncoderConfig:
        """A small one that sees the mouth at 22 pixels: 72,222 parameters, 576 values a frame."""
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
        """Side of the map after the last layer, in cells."""
        size = self.image_size // self.shrink
        for kind in self.layers:
            if kind == "compress_space":
                size = (size + 1) // 2
        return size

    @property
    def feature_size(self) -> int:
        """Length of the feature vector of one frame."""
        return self.channels * self.map_size**2


def require_positive(config: Any, *names: str) -> None:
    """Raise a ValueError that names the first of these fields that is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be at least 1.")
