"""Check one raw clip: whether its file is unchanged, and whether it can be used."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.cleaning.config import Thresholds
from avsep.cleaning.fingerprint import fingerprint
from avsep.cleaning.scores import black_share, frozen_share, sound_scores
from avsep.cleaning.spectrum import power_spectra
from avsep.cleaning.vad import silero_speech_share
from avsep.errors import ItemError, Reason, State
from avsep.raw_file import check_raw_file
from avsep.schema import RATE_HZ, Clip, RawClip

if TYPE_CHECKING:
    from avsep.media.normalise import Readable


@dataclass(frozen=True, kw_only=True)
class ClipCheck:
    """The result of checking a clip.

    Attributes:
        clip: row for `clips.parquet`.
        sound_sha256: sha256 of the sound at 16 kHz, to find duplicates; empty when dropped.
        fingerprint: see `Fingerprint.packed`, to find near duplicates; empty when dropped.
    """

    clip: Clip
    sound_sha256: str = ""
    fingerprint: str = ""


def check_clip(raw: RawClip, folder: Path, thresholds: Thresholds) -> ClipCheck:
    """Check one raw clip.

    Args:
        raw: row of the raw table.
        folder: folder that the row's path is relative to.
        thresholds: what the clip must meet.

    Raises:
        ItemError: the clip cannot be checked now: its file is missing, changed or unreadable.
    """
    # Imported here, so that importing this module does not need PyAV.
    from avsep.media.normalise import readable

    path = check_raw_file(raw, folder)
    facts: dict[str, Any] = {}
    try:
        with readable(path) as source:
            sound_sha256, packed = _examine(source.path, thresholds, facts)
            remark = _remark(source)
    except ItemError as error:
        if error.reason.state is State.FAILED:
            raise
        clip = Clip(
            **vars(raw), kept=False, reason=str(error.reason), message=error.message, **facts
        )
        return ClipCheck(clip=clip)
    clip = Clip(**vars(raw), kept=True, message=remark, **facts)
    return ClipCheck(clip=clip, sound_sha256=sound_sha256, fingerprint=packed)


def _remark(source: Readable) -> str:
    """What to know of a clip that is kept."""
    from avsep.media.mono import single_channel

    remarks = []
    if source.note:
        remarks.append(f"it was normalised with ffmpeg: {source.note}.")
    if (only := single_channel(source.path)) is not None:
        remarks.append(f"its channels cancel out; only channel {only + 1} is used.")
    return " ".join(remarks)


def _examine(path: Path, thresholds: Thresholds, facts: dict[str, Any]) -> tuple[str, str]:
    """Measure a clip.

    Args:
        path: path of the clip's file.
        thresholds: what the clip must meet.
        facts: takes the measured fields of `Clip`, also when the clip is dropped on the way.

    Returns:
        The sha256 of the sound, and the packed fingerprint.

    Raises:
        ItemError: the clip is dropped, or its file cannot be read.
    """
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
        raise ItemError(Reason.NO_VIDEO, "it has no video.")
    if not info.has_audio:
        raise ItemError(Reason.NO_AUDIO, "it has no sound.")
    _check_times(info.start_s, info.end_s, info.apart_s, thresholds)
    if info.fps < thresholds.min_fps:
        raise ItemError(Reason.FROZEN, f"it has only {info.fps:.2f} frames per second.")

    audio = read_audio(path, info.start_s, math.floor((info.end_s - info.start_s) * RATE_HZ))
    power = power_spectra(audio)
    scores = sound_scores(audio, power)
    facts.update(vars(scores))
    if thresholds.speech == "silero":
        facts["speech_share"] = silero_speech_share(audio)
    if scores.level_dbfs < thresholds.silence_dbfs:
        raise ItemError(Reason.SILENT, f"its level is {scores.level_dbfs:.1f} dBFS.")

    times_s = spread_times(info.start_s, info.end_s, thresholds.num_pictures)
    pictures = sample_grey(path, times_s, info.key_times_s)
    if not len(pictures):
        raise ItemError(Reason.UNDECODABLE, "none of its frames can be decoded.")
    if (share := black_share(pictures)) > thresholds.max_black_share:
        raise ItemError(Reason.BLACK, f"{share:.0%} of the sampled frames are black.")
    if (share := frozen_share(pictures)) > thresholds.max_frozen_share:
        raise ItemError(
            Reason.FROZEN, f"nothing changes between {share:.0%} of the sampled frames."
        )
    return hashlib.sha256(audio.tobytes()).hexdigest(), fingerprint(power, pictures).packed()


def _check_times(start_s: float, end_s: float, apart_s: float, thresholds: Thresholds) -> None:
    if apart_s > thresholds.max_apart_s:
        raise ItemError(
            Reason.LENGTHS_APART, f"sound and video start or end {apart_s:.2f} s apart."
        )
    duration_s = end_s - start_s
    if duration_s < thresholds.min_duration_s:
        raise ItemError(
            Reason.TOO_SHORT,
            f"sound and video overlap for {max(0.0, duration_s):.2f} s; at least"
            f" {thresholds.min_duration_s:g} s are needed.",
        )
    if duration_s > thresholds.max_duration_s:
        raise ItemError(
            Reason.TOO_LONG,
            f"it lasts {duration_s:.1f} s; at most {thresholds.max_duration_s:g} s are allowed.",
        )
