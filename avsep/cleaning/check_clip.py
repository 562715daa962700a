"""Judge one raw clip: is the file what the table says, and is it fit for the pipeline."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avsep.cleaning.fingerprint import Fingerprint, fingerprint
from avsep.cleaning.scores import black_share, frozen_share, sound_scores
from avsep.cleaning.spectrum import power_spectra
from avsep.cleaning.vad import silero_share
from avsep.errors import ItemError, Reason, State
from avsep.raw_file import check_raw_file
from avsep.schema import RATE_HZ, Clip, RawClip


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a clip must keep to, and how it is looked at. All else is a score, not a check.

    Attributes:
        min_duration_s: of the span that both streams have.
        max_duration_s: likewise; it bounds the memory that one clip can need.
        max_apart_s: longest time at the beginning or end that only sound or only picture has.
        silence_dbfs: RMS level below which a clip is silent.
        min_fps: pictures a second; below it lips cannot be followed.
        num_pictures: how many pictures, spread over the clip, are looked at.
        max_black_share: share of these without any bright part.
        max_frozen_share: share of successive ones of which nothing changes.
        speech: how the score `speech_share` is measured: `energy` (above a gate) or `silero` (by
            silero-vad, which knows speech from music; needs the extra `vad`).
    """

    min_duration_s: float = 1.0
    max_duration_s: float = 300.0
    max_apart_s: float = 0.5
    silence_dbfs: float = -60.0
    min_fps: float = 10.0
    num_pictures: int = 8
    max_black_share: float = 0.5
    max_frozen_share: float = 0.5
    speech: Literal["energy", "silero"] = "energy"

    def __post_init__(self) -> None:
        if not 0 < self.min_duration_s < self.max_duration_s:
            raise ValueError(
                f"min_duration_s is {self.min_duration_s} and max_duration_s"
                f" {self.max_duration_s}; 0 < min < max is needed."
            )
        if self.max_apart_s <= 0:
            raise ValueError(f"max_apart_s is {self.max_apart_s}; it must be above 0.")
        if not -100 <= self.silence_dbfs < 0:
            raise ValueError(f"silence_dbfs is {self.silence_dbfs}; it must be in -100..0.")
        if not 0 <= self.min_fps <= 25:
            raise ValueError(f"min_fps is {self.min_fps}; it must be in 0..25.")
        if not 2 <= self.num_pictures <= 1000:
            raise ValueError(f"num_pictures is {self.num_pictures}; it must be in 2..1000.")
        for name in ("max_black_share", "max_frozen_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in 0..1.")


@dataclass(frozen=True, kw_only=True)
class ClipCheck:
    """A judged clip.

    Attributes:
        clip: the row for `clips.parquet`.
        sound_sha256: of its sound at 16 kHz, for finding duplicates; empty when dropped.
        fingerprint: for finding copies in other encodings, see `Fingerprint.packed`; likewise.
    """

    clip: Clip
    sound_sha256: str = ""
    fingerprint: str = ""


def check_clip(raw: RawClip, folder: Path, thresholds: Thresholds) -> ClipCheck:
    """Judge one clip.

    Args:
        raw: the row of the raw table.
        folder: that the row's path starts from.
        thresholds: what the clip must keep to.

    Raises:
        ItemError: the clip cannot be judged now: file missing, changed or unreadable.
    """
    path = check_raw_file(raw, folder)
    facts: dict[str, Any] = {}
    try:
        sound_sha256, print_ = _examine(path, thresholds, facts)
    except ItemError as error:
        if error.reason.state is State.FAILED:
            raise
        clip = Clip(
            **vars(raw), kept=False, reason=str(error.reason), message=error.message, **facts
        )
        return ClipCheck(clip=clip)
    clip = Clip(**vars(raw), kept=True, **facts)
    return ClipCheck(clip=clip, sound_sha256=sound_sha256, fingerprint=print_.packed())


def _examine(path: Path, thresholds: Thresholds, facts: dict[str, Any]) -> tuple[str, Fingerprint]:
    """Fill in what is found; returns sha256 of the sound and fingerprint; raises to drop."""
    # Here, since PyAV is not needed to import this module.
    from avsep.media.decode import read_audio
    from avsep.media.probe import probe
    from avsep.media.sampling import sample_grey, spread_times

    info = probe(path)
    facts.update(
        start_s=info.start_s,
        end_s=max(info.start_s, info.end_s),
        width=info.width,
        height=info.height,
        fps=info.fps,
        audio_rate_hz=info.audio_rate_hz,
        channels=info.channels,
    )
    if not info.has_video:
        raise ItemError(Reason.NO_VIDEO, "it has no pictures.")
    if not info.has_audio:
        raise ItemError(Reason.NO_AUDIO, "it has no sound.")
    _check_times(info.start_s, info.end_s, info.apart_s, thresholds)
    if info.fps < thresholds.min_fps:
        raise ItemError(Reason.FROZEN, f"it has only {info.fps:.2f} pictures a second.")

    audio = read_audio(path, info.start_s, math.floor((info.end_s - info.start_s) * RATE_HZ))
    power = power_spectra(audio)
    scores = sound_scores(audio, power)
    facts.update(vars(scores))
    if thresholds.speech == "silero":
        facts["speech_share"] = silero_share(audio)
    if scores.level_dbfs < thresholds.silence_dbfs:
        raise ItemError(Reason.SILENT, f"its level is {scores.level_dbfs:.1f} dBFS.")

    times_s = spread_times(info.start_s, info.end_s, thresholds.num_pictures)
    pictures = sample_grey(path, times_s, info.key_times_s)
    if not len(pictures):
        raise ItemError(Reason.UNDECODABLE, "none of its pictures decodes.")
    if (share := black_share(pictures)) > thresholds.max_black_share:
        raise ItemError(Reason.BLACK, f"{share:.0%} of the pictures looked at are black.")
    if (share := frozen_share(pictures)) > thresholds.max_frozen_share:
        raise ItemError(Reason.FROZEN, f"nothing changes in {share:.0%} of the picture steps.")
    return hashlib.sha256(audio.tobytes()).hexdigest(), fingerprint(power, pictures)


def _check_times(start_s: float, end_s: float, apart_s: float, thresholds: Thresholds) -> None:
    if apart_s > thresholds.max_apart_s:
        raise ItemError(
            Reason.LENGTHS_APART, f"sound and picture begin or end {apart_s:.2f} s apart."
        )
    duration_s = end_s - start_s
    if duration_s < thresholds.min_duration_s:
        raise ItemError(
            Reason.TOO_SHORT,
            f"sound and picture share {max(0.0, duration_s):.2f} s; {thresholds.min_duration_s:g} s"
            " are needed.",
        )
    if duration_s > thresholds.max_duration_s:
        raise ItemError(
            Reason.TOO_LONG,
            f"it lasts {duration_s:.1f} s; at most {thresholds.max_duration_s:g} s.",
        )
