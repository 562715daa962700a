"""For MuSE, USEV and ClearerVoice: a csv of mixtures, and sound and video by speaker.

A line of the csv has the split, then `split,speaker,video/utterance,level` for each voice, then the
length in seconds. The reader finds `audio/<split>/<speaker>/<video>/<utterance>.wav` and mixes the
voices itself: the first unchanged, the others at a level in dB relative to the power of the first,
and the sum scaled to full scale. Mixtures are in `mixture/<split>/<line with _ for , and />.wav`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from avsep.errors import UsageError
from avsep.exporting.source import ExportSource, Mixture
from avsep.files import inside, write_bytes, write_text
from avsep.media.pcm import encode_wav
from avsep.schema import RATE_HZ, NoisyRecipe
from avsep.shards.lips import encode_mp4

LIST = "mixture_data_list.csv"
MAX_INT16 = 32767


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of mixtures."""
    lines = []
    for split in source.splits:
        for mixture in source.mixed(split):
            if isinstance(mixture.recipe, NoisyRecipe):
                raise UsageError(
                    "MuSE mixes its lists itself, without noise; draw a list without noise."
                )
            lines.append(_write(mixture, out))
    write_text(out / LIST, "".join(f"{line}\n" for line in lines))
    return len(lines)


def _write(mixture: Mixture, out: Path) -> str:
    split, parts = mixture.split, [mixture.split]
    # Gain of each voice: its power in the mixture over its power in the file.
    gains_db = [_power_db(voice.mixed) - _power_db(voice.sound) for voice in mixture.voices]
    levels_db = [_power_db(voice.mixed) for voice in mixture.voices]
    for voice, level_db in zip(mixture.voices, levels_db, strict=True):
        recipe = voice.recipe
        relative = level_db - levels_db[0]
        parts += [split, recipe.speaker, f"{recipe.group}/{voice.name}", f"{relative:.10g}"]
        for kind, suffix, content in (
            ("audio", "wav", encode_wav(voice.sound)),
            ("visual", "mp4", encode_mp4(voice.lips)),
        ):
            folder = inside(out, kind, split, recipe.speaker, recipe.group)
            write_bytes(inside(folder, f"{voice.name}.{suffix}"), content)
    line = ",".join([*parts, f"{len(mixture.sound) / RATE_HZ:g}"])
    total = sum(
        voice.sound * 10 ** ((gain_db - gains_db[0]) / 20)
        for voice, gain_db in zip(mixture.voices, gains_db, strict=True)
    )
    peak = float(np.abs(total).max())
    name = line.replace(",", "_").replace("/", "_")
    sound = np.trunc(total * (MAX_INT16 / peak)).astype(np.int16)
    write_bytes(inside(out, "mixture", split, f"{name}.wav"), encode_wav(sound))
    return line


def _power_db(sound: np.ndarray) -> float:
    return 10 * math.log10(float(np.mean(np.square(sound.astype(np.float64)))))
