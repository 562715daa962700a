"""A small Dolphin of which every part decides what it gives."""

from dataclasses import replace

from avsep.bench.models.dolphin import draw_active_weights
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.model import Dolphin


def active_dolphin() -> Dolphin:
    lip = replace(
        LipEncoderConfig.demo(),
        shrink=8,
        layers=("residual", "compress_space", "linear_attend_space", "attend_space"),
        first_channels=4,
    )
    config = replace(
        DolphinConfig.demo(), lip=lip, channels=16, stages=1, heads=2, video_channels=8
    )
    return draw_active_weights(Dolphin(config)).eval()
