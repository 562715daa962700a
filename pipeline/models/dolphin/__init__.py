"""Dolphin: time-domain audio-visual separation with a discrete lip encoder (docs/models.md)."""

from pipeline.models.dolphin.config import DolphinConfig
from pipeline.models.dolphin.lip_config import LipEncoderConfig, QuantiserConfig
from pipeline.models.dolphin.lip_encoder import LipEncoder
from pipeline.models.dolphin.lipcoder import LipCoderConfig, LipCoderPretraining
from pipeline.models.dolphin.long import WindowConfig, separate_long
from pipeline.models.dolphin.model import Dolphin, prepare_lips
from pipeline.models.dolphin.official import load_official
from pipeline.models.dolphin.teachers import FeatureFolder, log_mel_targets

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
