"""From one clip to its samples: decode once, track the faces, crop the mouths, score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import clip_facts, faces_facts
from avsep.files import dump_json
from avsep.schema import (
    FPS,
    RATE_HZ,
    SAMPLE_VERSION,
    SAMPLES_PER_FRAME,
    Clip,
    Sample,
)
from avsep.settings import as_values
from avsep.shards.codecs import encode_sample
from avsep.shards.writer import sample_key

if TYPE_CHECKING:
    import numpy as np

    from avsep.faces.backends import FaceBackend
    from avsep.faces.extraction import FaceTrackSample
    from avsep.faces.pictures import Picture
    from avsep.faces.timing import StepTimer
    from avsep.faces.tracking import Tracks

SCORE_DIGITS = 5  # decimals of a stored score
# Why faces are left out: more than `max_faces` at the same time, smaller than `min_face_px`, or
# never moving (without `keep_still`, in a clip with several faces).
OVER_LIMIT, TOO_SMALL, STILL = "over_limit", "too_small", "still"


def num_frames_of(clip: Clip) -> int:
    """Number of whole frames, at 25 per second, in the span that sound and video share."""
    return math.floor(clip.duration_s * FPS + 1e-6)


def encoded_samples(
    path: Path,
    clip: Clip,
    config: ExtractionConfig,
    timer: StepTimer | None = None,
    left_out: Counter[str] | None = None,
    engine: str = "",
) -> list[tuple[str, dict[str, bytes], int]]:
    """The samples of a clip as (key, members, number of frames), sorted by key.

    Args:
        path: path of the raw file.
        clip: row of `clips.parquet`.
        config: settings of the extraction.
        timer: adds up the time per step.
        left_out: gets the number of faces that were left out, by reason, see `OVER_LIMIT`.
        engine: socket of the engine that runs the networks; empty to run them here.

    Raises:
        ItemError: the clip shows no face for long enough, or the file cannot be decoded.
    """
    from avsep.faces.timing import StepTimer
    from avsep.media.normalise import readable

    timer = timer or StepTimer()
    with ExitStack() as stack:
        with timer.step("decode"):
            source = stack.enter_context(readable(path))
        samples = clip_samples(source.path, clip, config, timer, left_out, engine)
    encoded = []
    for sample in samples:
        with timer.step("encode"):
            members = encode_sample(sample, config.storage, lips_crf=config.lips_crf)
        encoded.append((sample.key, members, sample.num_frames))
    return sorted(encoded, key=lambda item: item[0])


def clip_samples(
    path: Path,
    clip: Clip,
    config: ExtractionConfig,
    timer: StepTimer,
    left_out: Counter[str] | None = None,
    engine: str = "",
) -> list[Sample]:
    """The samples of a clip, one per face track; see `encoded_samples` for arguments and errors."""
    from avsep.extraction.multi_voice import voice_doubts
    from avsep.faces.extraction import track_faces, track_samples, without_still
    from avsep.media.decode import read_audio, read_pictures

    num_frames = num_frames_of(clip)
    needed = config.faces.min_track_frames
    if num_frames < needed:
        raise ItemError(
            Reason.FACE_TOO_SHORT, f"it has {num_frames} frames; a face must be seen for {needed}."
        )
    with timer.step("decode"):
        audio = read_audio(path, clip.start_s, num_frames * SAMPLES_PER_FRAME)
    frames = _timed(read_pictures(path, clip.start_s, num_frames), timer)
    if config.backend == "imported":
        from avsep.faces.backends.imported import open_imported

        imported = open_imported(config.backend_options, clip, num_frames)
        backend: FaceBackend = imported
        frames = imported.counted(frames)
    else:
        backend = loaded_backend(config, engine)
    tracks = track_faces(frames, config.faces, backend, timer)
    faces, most_at_once = len(tracks.kept), tracks.most_at_once
    if not config.faces.keep_still:
        tracks = without_still(tracks)
    still = faces - len(tracks.kept)
    if left_out is not None:
        small = len(tracks.too_small)
        left_out.update({OVER_LIMIT: tracks.over_limit, TOO_SMALL: small, STILL: still})
    if not tracks.kept:
        raise no_sample(tracks, needed, still)
    samples = track_samples(tracks)
    shared_frames = max(s.scores["other_face_share"] * s.num_frames for s in samples)
    doubts = voice_doubts([s.span for s in samples], shared_frames, audio)
    shared = {
        **clip_facts(clip),
        **faces_facts(config, most_at_once),
        "multi_voice": bool(doubts),
    }
    shared["multi_voice_reasons"] = doubts
    return [_sample(number, track, audio, shared) for number, track in enumerate(samples)]


def no_sample(tracks: Tracks, needed: int, still: int = 0) -> ItemError:
    """Why a clip gives no sample.

    Args:
        tracks: the face tracks of the clip, all of them too short.
        needed: number of frames that the shortest sample has.
        still: number of faces that were left out because they never move.
    """
    if still:
        return ItemError(
            Reason.NO_FACE,
            f"none of its {still} faces moves, as in photographs; extract.faces.keep_still uses"
            " them.",
        )
    spans, num_frames = tracks.spans, tracks.num_frames
    if not spans and tracks.too_small:
        return ItemError(
            Reason.NO_FACE,
            f"the largest face is about {tracks.too_small[0]:.0f} pixels wide, which is too small;"
            " lower extract.faces.min_face_px to use it.",
        )
    if not spans:
        return ItemError(Reason.NO_FACE, f"none of the {num_frames} frames shows a face.")
    seen = sum(stop - first for first, stop in spans)
    longest = max(stop - first for first, stop in spans)
    if seen >= needed:
        return ItemError(
            Reason.FACE_MOSTLY_MISSING,
            f"a face is lost repeatedly: {seen} of {num_frames} frames show one, but at most"
            f" {longest} in a row; {needed} are needed.",
        )
    return ItemError(
        Reason.FACE_TOO_SHORT,
        f"a face is seen for {longest} of {num_frames} frames in a row; {needed} are needed.",
    )


def _sample(
    number: int, track: FaceTrackSample, clip_audio: np.ndarray, shared: Mapping[str, Any]
) -> Sample:
    from avsep.extraction.multi_voice import active_level
    from avsep.faces.quality import sound_scores
    from avsep.media.pcm import pcm_sha256

    num_frames = len(track.lips)
    start = track.start_frame * SAMPLES_PER_FRAME
    audio = clip_audio[start : start + num_frames * SAMPLES_PER_FRAME]
    # The annotation of the corpus joins our own scores, so that one expression can use both.
    scores = {
        **shared.get("annotation", {}),
        **track.scores,
        **sound_scores(track.landmarks, audio),
    }
    key = sample_key(shared["clip_id"], number)
    own = {
        "version": SAMPLE_VERSION,
        "key": key,
        "track": number,
        "first_frame": track.start_frame,
        "num_frames": num_frames,
        "num_samples": len(audio),
        "fps": FPS,
        "rate_hz": RATE_HZ,
        "level_dbfs": active_level(audio),
        "audio_sha256": pcm_sha256(audio),
        "quality": {name: _finite(value) for name, value in scores.items()},
    }
    return Sample(
        key=key,
        audio=audio,
        lips=track.lips,
        landmarks=track.landmarks,
        meta={**shared, **own},
    )


def loaded_backend(config: ExtractionConfig, engine: str = "") -> FaceBackend:
    """The landmark backend, loaded once per process; `engine` as in `encoded_samples`."""
    return _backend(config.backend, dump_json(as_values(config.backend_options)), engine)


@lru_cache(maxsize=1)
def _backend(name: str, options: str, engine: str) -> FaceBackend:
    import json

    from avsep.faces.backends import create

    return create(name, engine, **json.loads(options))


def _timed(frames: Iterable[Picture], timer: StepTimer) -> Iterator[Picture]:
    """The same pictures; the time to decode them is counted as `decode`."""
    iterator = iter(frames)
    while True:
        with timer.step("decode"):
            frame = next(iterator, None)
        if frame is None:
            return
        yield frame


def _finite(value: float) -> float | None:
    return round(float(value), SCORE_DIGITS) if math.isfinite(value) else None
