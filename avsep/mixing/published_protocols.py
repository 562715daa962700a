"""The mixing protocols of other papers, and `strict-3mix`: levels, lengths and starts.

- `ctcnet-2mix` (CTCNet, IIANet, RTFS-Net, Dolphin): the first seconds of each voice; active level
  by ITU-T P.56 of the sound at 8 kHz above 200 Hz, as VOICEBOX's `activlev` measures it, which made
  the published mixtures (version 1 left out the high pass); the first voice is x dB louder, the
  second x dB quieter, with x uniform in 0..5; a joint factor brings the peak of mixture and voices
  to 0.9.
- `muse-2mix` (MuSE, USEV, ClearerVoice): from the beginning, as long as the shorter voice (in
  validation cut to one length, since training batches it); the second voice is -10 to 10 dB
  louder than the first, by the power of the whole samples; the mixture is at full scale.
- `visualvoice-2mix` (VisualVoice): the mean of random windows of two videos, perhaps of one
  speaker, at the same RMS level of 0.1 of full scale. Windows are whole frames: 2.56 s instead of
  2.55 s.
- `strict-3mix`: like `strict-2mix` with three voices, each -2.5 to 2.5 dB off their mean.

Training uses the same protocols without end and measures levels on the sound that is mixed. It
shuffles the voices of a mixture: in some protocols the first voice is the louder one, and the first
is the target if mixtures are not paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import scipy  # which loads `signal` when it is used

from avsep.media.level import FINE_THRESHOLDS, active_level_dbfs
from avsep.mixing.hash_random import HashRandom
from avsep.mixing.protocol import ListSpec, MixingProtocol, Window, training_id
from avsep.mixing.protocols import (
    STRICT,
    draw_voice,
    draw_window,
    level_recipe,
    recipe_of,
)
from avsep.mixing.recipes import content_id
from avsep.mixing.render import FULL_SCALE, GetAudio, linear_gain
from avsep.mixing.voices import LEVEL_DIGITS, Voice, VoiceTable
from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME, MixtureRecipe

CTCNET, MUSE, VISUALVOICE = "ctcnet-2mix", "muse-2mix", "visualvoice-2mix"
STRICT_3MIX = "strict-3mix"

CTCNET_MAX_DB = 5.0  # one voice is louder and the other quieter by up to this
CTCNET_PEAK = 0.9
CTCNET_LEVEL_RATE_HZ = 8_000
CTCNET_HIGH_PASS_HZ = 200.0
MUSE_MAX_DB = 10.0
MUSE_PEAK = 32767 / 32768
VISUALVOICE_RMS = 0.1
THREE_MAX_DB = 2.5

_TRIES = 10_000
_LEVEL_TRIES = 100  # a window of silence has none

Differ = Callable[[Sequence[Voice]], bool]


def level_above_200_hz(sound: np.ndarray) -> float:
    """The active level (ITU-T P.56) of the sound from 200 to 4,000 Hz, in dBFS.

    As VOICEBOX's `activlev` measures it at 8 kHz: after a high pass, with thresholds 3 dB apart.

    Args:
        sound: (N,) int16 at 16 kHz.
    """
    passed = scipy.signal.sosfilt(_high_pass(), _at_8_khz(sound))
    return active_level_dbfs(passed, CTCNET_LEVEL_RATE_HZ, FINE_THRESHOLDS)


def level_at_8_khz(sound: np.ndarray) -> float:
    """The active level (ITU-T P.56) of the sound at 8 kHz, in dBFS; as in version 1.

    Args:
        sound: (N,) int16 at 16 kHz.
    """
    return active_level_dbfs(_at_8_khz(sound), CTCNET_LEVEL_RATE_HZ)


def _at_8_khz(sound: np.ndarray) -> np.ndarray:
    return scipy.signal.resample_poly(sound.astype(np.float64) / FULL_SCALE, 1, 2)


@lru_cache(maxsize=1)
def _high_pass() -> np.ndarray:
    """A Chebyshev filter of type 2 and order 5: -0.25 dB at 200 Hz, -50 dB in the stop band."""
    order, stop_db, pass_db = 5, 50.0, 0.25
    depth = math.sqrt((10 ** (stop_db / 10) - 1) / (10 ** (pass_db / 10) - 1))
    below = 1 / math.cosh(math.acosh(depth) / order)  # the stop band's edge, before warping
    turn = math.pi / CTCNET_LEVEL_RATE_HZ
    edge_hz = math.atan(below * math.tan(CTCNET_HIGH_PASS_HZ * turn)) / turn
    return scipy.signal.cheby2(
        order, stop_db, edge_hz, "highpass", output="sos", fs=CTCNET_LEVEL_RATE_HZ
    )


def power_dbfs(sound: np.ndarray) -> float:
    """The mean power of (N,) int16, in dBFS; minus infinity for silence."""
    power = float(np.mean(np.square(sound.astype(np.float64) / FULL_SCALE)))
    return 10 * math.log10(power) if power else -math.inf


def ctcnet_recipe(
    windows: Sequence[Window],
    get_audio: GetAudio,
    offsets_db: Sequence[float],
    num_samples: int,
    level: Callable[[np.ndarray], float] = level_above_200_hz,
) -> MixtureRecipe | None:
    """The recipe that CTCNet's scripts make of given levels; None if a voice has no level."""
    sounds = [_cut(get_audio, window, num_samples) for window in windows]
    levels_db = [round(level(sound), LEVEL_DIGITS) for sound in sounds]
    if not all(map(math.isfinite, levels_db)):
        return None
    gains_db = [offset - level for offset, level in zip(offsets_db, levels_db, strict=True)]
    peak_db = _peak_db(sounds, gains_db, with_voices=True)
    gains_db = [gain + 20 * math.log10(CTCNET_PEAK) - peak_db for gain in gains_db]
    return recipe_of(windows, levels_db, gains_db, protocol=CTCNET, num_samples=num_samples)


def muse_recipe(
    windows: Sequence[Window], get_audio: GetAudio, offsets_db: Sequence[float], num_samples: int
) -> MixtureRecipe | None:
    """The recipe that MuSE's script makes of given levels; None if a voice is silent or too short.

    Levels are those of the whole samples. With `num_samples` 0 the mixture is as long as the
    shortest voice.
    """
    whole = [get_audio(voice.key) for voice, _ in windows]
    shortest = min(map(len, whole)) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    num_samples = num_samples or shortest
    if num_samples > shortest:
        return None
    levels_db = [round(power_dbfs(sound), LEVEL_DIGITS) for sound in whole]
    if not all(map(math.isfinite, levels_db)):
        return None
    gains_db = [
        levels_db[0] - level + offset for offset, level in zip(offsets_db, levels_db, strict=True)
    ]
    peak_db = _peak_db([sound[:num_samples] for sound in whole], gains_db, with_voices=False)
    gains_db = [gain + 20 * math.log10(MUSE_PEAK) - peak_db for gain in gains_db]
    return recipe_of(windows, levels_db, gains_db, protocol=MUSE, num_samples=num_samples)


def _drawn_ctcnet(
    windows: Sequence[Window],
    get_audio: GetAudio,
    random: HashRandom,
    num_samples: int,
    level: Callable[[np.ndarray], float] = level_above_200_hz,
) -> MixtureRecipe | None:
    offset_db = round(CTCNET_MAX_DB * random.uniform(), LEVEL_DIGITS)
    return ctcnet_recipe(windows, get_audio, (offset_db, -offset_db), num_samples, level)


def _drawn_muse(
    windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, num_samples: int
) -> MixtureRecipe | None:
    offset_db = round(MUSE_MAX_DB * (2 * random.uniform() - 1), LEVEL_DIGITS)
    return muse_recipe(windows, get_audio, (0.0, offset_db), num_samples)


def _drawn_visualvoice(
    windows: Sequence[Window], get_audio: GetAudio, _: HashRandom, num_samples: int
) -> MixtureRecipe | None:
    sounds = [_cut(get_audio, window, num_samples) for window in windows]
    levels_db = [round(power_dbfs(sound), LEVEL_DIGITS) for sound in sounds]
    if not all(map(math.isfinite, levels_db)):
        return None
    wanted_db = 20 * math.log10(VISUALVOICE_RMS / len(windows))
    gains_db = [wanted_db - level for level in levels_db]
    return level_recipe(
        windows, sounds, levels_db, gains_db, protocol=VISUALVOICE, num_samples=num_samples
    )


def _drawn_three(
    windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, num_samples: int
) -> MixtureRecipe | None:
    sounds = [_cut(get_audio, window, num_samples) for window in windows]
    levels_db = [round(active_level_dbfs(sound, RATE_HZ), LEVEL_DIGITS) for sound in sounds]
    offsets_db = [THREE_MAX_DB * (2 * random.uniform() - 1) for _ in windows]
    if not all(map(math.isfinite, levels_db)):
        return None
    mean_db = sum(levels_db) / len(levels_db)
    gains_db = [
        mean_db + offset - level for offset, level in zip(offsets_db, levels_db, strict=True)
    ]
    return level_recipe(
        windows, sounds, levels_db, gains_db, protocol=STRICT_3MIX, num_samples=num_samples
    )


def _all_differ(voices: Sequence[Voice]) -> bool:
    speakers, groups = {v.speaker for v in voices}, {v.group for v in voices}
    return len(speakers) == len(groups) == len(voices)


def _groups_differ(voices: Sequence[Voice]) -> bool:
    return len({v.group for v in voices}) == len(voices)


def _windows(
    table: VoiceTable, random: HashRandom, *, count: int, differ: Differ, at_start: bool
) -> tuple[Window, ...]:
    for _ in range(_TRIES):
        voices = [draw_voice(table, random) for _ in range(count)]
        if differ(voices):
            if at_start:
                return tuple((voice, 0) for voice in voices)
            return tuple(draw_window(table, voice, random) for voice in voices)
    raise ValueError(f"no {count} voices of the split may be mixed; add speakers.")


@dataclass(frozen=True)
class _PublishedProtocol:
    """A protocol of this module as a `MixingProtocol`."""

    name: str
    version: int
    count: int
    draw_recipe: Callable[[Sequence[Window], GetAudio, HashRandom, int], MixtureRecipe | None]
    differ: Differ = _all_differ
    at_start: bool = False
    whole_in_test: bool = False

    def windows(self, table: VoiceTable, random: HashRandom) -> tuple[Window, ...]:
        """Draw the voices of a mixture, and the frames at which their windows start."""
        return _windows(table, random, count=self.count, differ=self.differ, at_start=self.at_start)

    def recipe(
        self, windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, spec: ListSpec
    ) -> MixtureRecipe | None:
        """The recipe for a list; None if a voice has no level."""
        length = 0 if self.whole_in_test and spec.split == "test" else spec.num_samples
        made = self.draw_recipe(windows, get_audio, random, length)
        if made is None:
            return None
        made = replace(made, seed=spec.seed, version=self.version)
        return replace(made, mixture_id=content_id(spec.split, made))

    def training(
        self, table: VoiceTable, get_audio: GetAudio, *, seed: int, epoch: int, index: int
    ) -> MixtureRecipe:
        """A training mixture, with levels measured on its sound."""
        spec = ListSpec(split="train", seed=seed, num_samples=table.num_samples)
        for attempt in range(_LEVEL_TRIES):
            random = HashRandom(self.name, self.version, seed, "train", epoch, index, attempt)
            made = self.recipe(self.windows(table, random), get_audio, random, spec)
            if made is not None:
                first = random.below(len(made.sources))
                return replace(
                    made,
                    mixture_id=training_id(seed, epoch, index),
                    sources=made.sources[first:] + made.sources[:first],
                )
        raise ValueError(
            f"hardly any mixture of {self.name} has a level; most of its sound is silent."
        )


PROTOCOLS: dict[str, MixingProtocol] = {
    STRICT.name: STRICT,
    CTCNET: _PublishedProtocol(CTCNET, 2, 2, _drawn_ctcnet, at_start=True),
    MUSE: _PublishedProtocol(MUSE, 1, 2, _drawn_muse, at_start=True, whole_in_test=True),
    VISUALVOICE: _PublishedProtocol(VISUALVOICE, 1, 2, _drawn_visualvoice, differ=_groups_differ),
    STRICT_3MIX: _PublishedProtocol(STRICT_3MIX, 1, 3, _drawn_three),
}
EARLIER: tuple[MixingProtocol, ...] = (
    _PublishedProtocol(CTCNET, 1, 2, partial(_drawn_ctcnet, level=level_at_8_khz), at_start=True),
)
"""Versions that a training may go on with; new lists are not drawn by them."""


def find_protocol(name: str, version: int) -> MixingProtocol:
    """A protocol in one of its versions.

    Raises:
        ValueError: there is none of this name and version.
    """
    known = [*PROTOCOLS.values(), *EARLIER]
    for protocol in known:
        if (protocol.name, protocol.version) == (name, version):
            return protocol
    listed = ", ".join(f"{protocol.name} {protocol.version}" for protocol in known)
    raise ValueError(
        f"the protocol {name}, version {version}, is unknown; known are {listed}; run the stage"
        " `mix` again."
    )


def _cut(get_audio: GetAudio, window: Window, num_samples: int) -> np.ndarray:
    voice, start = window
    return get_audio(voice.key)[start * SAMPLES_PER_FRAME :][:num_samples]


def _peak_db(
    sounds: Sequence[np.ndarray], gains_db: Sequence[float], *, with_voices: bool
) -> float:
    """The peak of the mixture (and of the voices) after gains, in dB of full scale."""
    scaled = [
        sound.astype(np.float64) / FULL_SCALE * linear_gain(gain)
        for sound, gain in zip(sounds, gains_db, strict=True)
    ]
    signals = [np.sum(scaled, axis=0), *(scaled if with_voices else ())]
    return 20 * math.log10(max(float(np.abs(signal).max()) for signal in signals))
