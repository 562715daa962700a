"""Scores of a track. They only measure: whoever selects a training set chooses the thresholds."""

from __future__ import annotations

import numpy as np

from avsep.faces.geometry import apply
from avsep.faces.ibug68 import (
    INNER_LIP_LOWER,
    INNER_LIP_UPPER,
    MOUTH,
)
from avsep.faces.pose import inter_ocular, yaw_degrees
from avsep.schema import (
    DETECTED,
    INTERPOLATED,
    LIPS_SIZE,
    SAMPLES_PER_FRAME,
    TURNED,
    Landmarks,
)

MAX_LAG = 15  # frames
MIN_FRAMES = 25  # with landmarks, below which a correlation means nothing
LOUDNESS_RANGE_DB = 35.0  # anything this far below the loud parts counts as silence


def mouth_opening(points: np.ndarray) -> np.ndarray:
    """Distance of the inner lips, (T,), relative to the median inter-ocular distance.

    Args:
        points: (T, 68, 2 or 3).
    """
    points = points.astype(np.float64)
    return lip_gap(points) / max(float(np.median(inter_ocular(points))), 1e-6)


def lip_gap(points: np.ndarray) -> np.ndarray:
    """Distance of the inner lips, (T,), in the unit of `points` (T, 68, 2 or 3)."""
    gap = points[:, INNER_LIP_LOWER, :2] - points[:, INNER_LIP_UPPER, :2]
    return np.hypot(gap[..., 0], gap[..., 1]).mean(axis=1)


def picture_scores(landmarks: Landmarks, face_px: float) -> dict[str, float]:
    """Scores of the video alone.

    Args:
        landmarks: landmarks of one track, T frames.
        face_px: median side of the face box in the source, in pixels.

    Returns:
        `missing_share`: share of frames in which the face was not detected, or turned too far;
        `turned_share`: share of frames in which it was turned too far;
        `longest_gap`: longest run of such frames;
        `jitter`: median second difference of the points relative to the inter-ocular distance;
        `yaw_p90_deg`: 90th percentile of the absolute yaw of the head;
        `face_px`: as given;
        `mouth_outside_px`: largest distance of a mouth point outside the 96-pixel crop;
        `mouth_opening_variance`: variance of the opening relative to the inter-ocular distance.
    """
    points = landmarks.points.astype(np.float64)
    detected = landmarks.valid == DETECTED
    turned = landmarks.valid == TURNED
    seen = points[detected] if detected.any() else points
    looked_at = points[detected | turned] if (detected | turned).any() else points
    mouth = apply(landmarks.to_mean_face.astype(np.float64), points[:, MOUTH, :2])
    mouth -= landmarks.crop_xy[:, None, :]
    outside = max(float(-mouth.min()), float(mouth.max()) - (LIPS_SIZE - 1), 0.0)
    scores = {
        "missing_share": 1.0 - float(detected.mean()),
        "turned_share": float(turned.mean()),
        "longest_gap": float(_longest_run(~detected)),
        "jitter": _jitter(points, detected),
        "yaw_p90_deg": float(np.percentile(np.abs(yaw_degrees(looked_at)), 90)),
        "face_px": face_px,
        "mouth_outside_px": outside,
        "mouth_opening_variance": float(np.var(mouth_opening(seen))),
    }
    return {name: round(value, 6) for name, value in scores.items()}


def loudness(audio: np.ndarray) -> np.ndarray:
    """Loudness per video frame, (T,), 0 (quiet) to 1 (as loud as the loudest twentieth).

    Args:
        audio: (640 T,) int16.
    """
    frames = audio.reshape(-1, SAMPLES_PER_FRAME).astype(np.float64) / 32768
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    top = float(np.percentile(level_db, 95))
    return np.clip((level_db - top) / LOUDNESS_RANGE_DB + 1, 0, 1)


def sound_scores(landmarks: Landmarks, audio: np.ndarray) -> dict[str, float]:
    """How well the opening of the mouth follows the loudness of the sound.

    Over two seconds this says little. Over six it reveals sound that is shifted or belongs to
    another face.

    Args:
        landmarks: landmarks of one track, T frames.
        audio: (640 T,) int16 at 16 kHz, the sound of the same frames.

    Returns:
        `mouth_sound_r`: correlation without a lag;
        `mouth_sound_best_r`: highest correlation over lags of up to 15 frames, where frames without
            a counterpart count as 0;
        `mouth_sound_lag`: that lag in frames, positive where the sound comes after the video.
        All are 0 where the mouth or the sound never changes, or with fewer than 25 frames whose
        landmarks are exact.

    Raises:
        ValueError: the sound does not have 640 samples per frame.
    """
    opening = mouth_opening(landmarks.points)
    if len(audio) != len(opening) * SAMPLES_PER_FRAME:
        raise ValueError(
            f"the sound has {len(audio)} samples for {len(opening)} frames;"
            f" it must have {SAMPLES_PER_FRAME} per frame."
        )
    by_lag = _correlations(
        opening, loudness(audio), np.isin(landmarks.valid, (DETECTED, INTERPOLATED))
    )
    # The smaller shift wins a tie.
    best = max(sorted(by_lag, key=lambda lag: (abs(lag), lag)), key=lambda lag: by_lag[lag])
    return {
        "mouth_sound_r": round(by_lag[0], 6),
        "mouth_sound_best_r": round(by_lag[best], 6),
        "mouth_sound_lag": float(best),
    }


def _jitter(points: np.ndarray, detected: np.ndarray) -> float:
    whole = detected[2:] & detected[1:-1] & detected[:-2]
    if not whole.any():
        return 0.0
    bend = (points[2:] - 2 * points[1:-1] + points[:-2])[whole, :, :2]
    size = inter_ocular(points)[1:-1][whole, None]
    return float(np.median(np.hypot(bend[..., 0], bend[..., 1]) / np.maximum(size, 1e-6)))


def _longest_run(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _correlations(opening: np.ndarray, sound: np.ndarray, known: np.ndarray) -> dict[int, float]:
    """Correlation of opening[t] with sound[t + lag] for each lag of up to 15 frames.

    Divided by the spread of the whole track, so that a large lag, with fewer pairs of frames, does
    not win by chance.
    """
    lags = range(-MAX_LAG, MAX_LAG + 1)
    count = int(known.sum())
    if count < MIN_FRAMES:
        return dict.fromkeys(lags, 0.0)
    x = np.where(known, opening - opening[known].mean(), 0.0)
    y = sound - sound[known].mean()
    scale = count * float(opening[known].std() * sound[known].std())
    if scale < 1e-9:
        return dict.fromkeys(lags, 0.0)
    frames = len(x)
    return {
        lag: float(x[max(0, -lag) : frames - max(0, lag)] @ y[max(0, lag) : frames + min(0, lag)])
        / scale
        for lag in lags
    }
