"""Dolphin: time-domain audio-visual separation with a discrete lip encoder (docs/models.md)."""

from avsep.models.dolphin.chunked import WindowConfig, separate_long
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.distillation_targets import FeatureFolder, log_mel_targets
from avsep.models.dolphin.lip_config import LipEncoderConfig, QuantiserConfig
from avsep.models.dolphin.lip_encoder import LipEncoder
from avsep.models.dolphin.lipcoder import LipCoderConfig, LipCoderPretraining
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.models.dolphin.state_dict_adapter import load_official

__all__ = [
    "Dolphin",
    "DolphinConfig",
    "FeatureFolder",
    "LipCoderConfig",
    "LipCoderPretraining",
    "LipEncoder",
    "LipEncoderConfig",
    "QuantiserConfig",
    "WindowConfig",
    "load_official",
    "log_mel_targets",
    "prepare_lips",
    "separate_long",
]
