"""Small pictures of the spectrograms of long sounds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from avsep.reporting.media import RANGE_DB, spectrogram
from avsep.schema import RATE_HZ

MAX_S = 60  # seconds of the sound that are drawn
MAX_WIDTH = 1200  # pixels


def write_spectrogram(sound: Path, picture: Path) -> None:
    """Draw the first minute of a mono WAV file as PNG, with low frequencies at the bottom."""
    import soundfile

    samples, _ = soundfile.read(sound, frames=MAX_S * RATE_HZ, dtype="int16")
    level = spectrogram(samples)[::-1]
    top = float(level.max())
    shade = ((level - top + RANGE_DB) / RANGE_DB).clip(0, 1) * 255
    image = cv2.applyColorMap(shade.astype(np.uint8), cv2.COLORMAP_MAGMA)
    width = min(MAX_WIDTH, image.shape[1])
    image = cv2.resize(image, (width, image.shape[0]), interpolation=cv2.INTER_AREA)
    # Encoded here, because OpenCV reports an unwritable path only by returning False.
    picture.write_bytes(cv2.imencode(".png", image)[1].tobytes())
