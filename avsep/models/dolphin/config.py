"""Sizes and settings of Dolphin, as a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from avsep.models.dolphin.lip_config import LipEncoderConfig, QuantiserConfig
from avsep.validation import check_at_least, check_below, check_choice, check_odd

HeatMode = Literal["auto", "dense", "fft", "filter"]
FrontEnd = Literal["random", "fourier"]


@dataclass(frozen=True, kw_only=True)
class DolphinConfig:
    """Sizes of Dolphin; the defaults are the released model (see docs/models.md).

    Attributes:
        lip: sizes of the lip encoder.
        audio_channels: channels of the learned audio encoder and decoder.
        kernel: window of the audio encoder and decoder, in samples; a multiple of `stride`.
        stride: hop of the audio encoder and decoder, in samples.
        channels: channels of the separator; even.
        stages: stages of the separator; each halves the rate.
        encoder_blocks: pairs of a global and a local block per encoder stage.
        decoder_blocks: pairs of a global and a local block per decoder stage.
        heads: attention heads in the separator; divides `channels`.
        max_distance: larger relative positions count as this distance, in tokens.
        local_kernel: kernel of the long depthwise convolution in the local blocks; odd.
        down_kernel: kernel of the convolutions that halve the rate; odd.
        dropout: dropout probability in the separator.
        video_channels: channels of the video trunk; even, divides `channels`.
        video_dropout: dropout probability in the video trunk.
        layer_scale: initial value of the gains on the residual branches. The released model starts
            at 1e-5, with which attention takes thousands of steps to become active; use about 0.1
            for a short training.
        mask: whether the output layer gives a mask on the audio encoder's frames instead of the
            frames themselves. An option of the released code that the released model does not use.
        front_end: initialisation of the audio encoder and decoder: `random`, or `fourier` (windowed
            cosines, together the identity; needs `kernel = 2 stride` and `audio_channels =
            2 kernel`).
        heat: how heat diffusion is computed, see `heat.py`. Changes the speed, not the model.
        carry_unused: keep the tensors of the released checkpoint that no output depends on
            (frozen and never computed with), so that names and counts agree with it.
    """

    lip: LipEncoderConfig = field(default_factory=LipEncoderConfig)
    audio_channels: int = 256
    kernel: int = 16
    stride: int = 4
    channels: int = 128
    stages: int = 4
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    heads: int = 8
    max_distance: int = 2000
    local_kernel: int = 65
    down_kernel: int = 5
    dropout: float = 0.05
    video_channels: int = 64
    video_dropout: float = 0.1
    layer_scale: float = 1e-5
    mask: bool = False
    front_end: FrontEnd = "random"
    heat: HeatMode = "auto"
    carry_unused: bool = True

    def __post_init__(self) -> None:
        check_at_least(self, 1, "audio_channels", "kernel", "stride", "channels", "stages", "heads")
        check_at_least(self, 1, "encoder_blocks", "decoder_blocks", "max_distance")
        check_at_least(self, 1, "video_channels")
        check_odd(self, "local_kernel", "down_kernel")
        check_below(self, 1, "dropout", "video_dropout")
        check_choice(self, get_args(HeatMode), "heat")
        check_choice(self, get_args(FrontEnd), "front_end")
        if self.kernel % self.stride:
            raise ValueError(f"kernel {self.kernel} must be a multiple of stride {self.stride}.")
        if self.front_end == "fourier" and not (
            self.kernel == 2 * self.stride and self.audio_channels == 2 * self.kernel
        ):
            raise ValueError(
                f"front_end fourier needs kernel = 2 stride and audio_channels = 2 kernel, not"
                f" kernel {self.kernel}, stride {self.stride}, channels {self.audio_channels}."
            )
        if self.channels % 2 or self.channels % self.heads:
            raise ValueError(
                f"channels {self.channels} must be even and a multiple of heads {self.heads}."
            )
        if self.video_channels % 2 or self.channels % self.video_channels:
            raise ValueError(
                f"video_channels {self.video_channels} must be even and divide channels"
                f" {self.channels}."
            )

    @classmethod
    def full(cls) -> DolphinConfig:
        """The released model: 7,000,448 parameters, 781,818 of them in the lip encoder."""
        return cls()

    @classmethod
    def demo(cls) -> DolphinConfig:
        """A small model of about a million parameters that trains on two CPU cores in minutes.

        It sees the mouth at 22 pixels and the sound in steps of 8 ms, through a front end
        initialised as a Fourier transform. Its output is a mask, and its residual branches are
        active from the start.
        """
        return cls(
            lip=LipEncoderConfig.demo(),
            audio_channels=512,
            kernel=256,
            stride=128,
            mask=True,
            front_end="fourier",
            channels=64,
            stages=3,
            encoder_blocks=1,
            decoder_blocks=1,
            heads=4,
            max_distance=250,
            local_kernel=17,
            dropout=0.0,
            video_channels=32,
            layer_scale=0.1,
            carry_unused=False,
        )

    @classmethod
    def from_official(cls, values: Mapping[str, Any]) -> DolphinConfig:
        """The config for the keywords of the released `config.json`.

        Entries that the released code reads but never uses are ignored.

        Raises:
            ValueError: a required keyword is missing.
        """
        try:
            return _from_official(cls, values)
        except KeyError as error:
            raise ValueError(f"the official config lacks the key {error}.") from error


def _from_official(cls: type[DolphinConfig], values: Mapping[str, Any]) -> DolphinConfig:
    lip = values["video_encoder_params"]
    separator = values["module_separator"]
    stage = separator["enc_stage"]
    return cls(
        lip=LipEncoderConfig(
            image_size=lip["image_size"],
            layers=tuple(lip["layers"]),
            first_channels=lip["init_channel"],
            max_channels=lip["max_dim"],
            first_kernel=tuple(lip["input_conv_kernel_size"]),
            unit_kernel=lip["residual_conv_kernel_size"],
            heads=lip["attn_heads"],
            head_size=lip["attn_dim_head"],
            linear_heads=lip["linear_attn_heads"],
            linear_head_size=lip["linear_attn_dim_head"],
            quantiser=QuantiserConfig(codes=lip["codebook_size"], code_size=lip["codebook_dim"]),
        ),
        audio_channels=values["module_audio_enc"]["out_channels"],
        kernel=values["module_audio_enc"]["kernel_size"],
        stride=values["module_audio_enc"]["stride"],
        channels=values["module_feature_projector"]["out_channels"],
        stages=separator["num_stages"],
        heads=separator["relative_positional_encoding"]["num_heads"],
        max_distance=separator["relative_positional_encoding"]["maxlen"],
        local_kernel=stage["local_blocks"]["kernel_size"],
        down_kernel=stage["down_conv_layer"]["samp_kernel_size"],
        dropout=stage["global_blocks"]["dropout_rate"],
        video_channels=values["vout_channels"],
    )
