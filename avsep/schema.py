"""The records that stages pass on: fields, units, shapes.

Ids come from content (corpus, source, span), hold only `[A-Za-z0-9_-]`, and never a dot, since
WebDataset cuts a key at the first one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

FPS = 25  # video frames per second, everywhere after `extract`
RATE_HZ = 16_000  # audio samples per second, everywhere after `extract`
SAMPLES_PER_FRAME = RATE_HZ // FPS  # 640, exactly
NUM_LANDMARKS = 68  # iBUG order
LIPS_SIZE = 96  # side of the stored mouth crop, in pixels
ANALYSIS_SIZE = 224  # side of the frame that landmarks are stored in, in pixels
SAMPLE_VERSION = 2  # of the shard members below

SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]

ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


def check_id(value: str) -> str:
    """Return `value` when it can be an id.

    Raises:
        ValueError: a character outside `[A-Za-z0-9_-]`, empty, or longer than 200.
    """
    if not ID.fullmatch(value):
        raise ValueError(f"{value!r} is not an id: use 1 to 200 of the characters A-Z a-z 0-9 _ -.")
    return value


@dataclass(frozen=True, kw_only=True)
class RawClip:
    """One row of `data/raw.parquet`: a video of a talking face as the corpus provides it.

    Attributes:
        clip_id: see the module docstring.
        corpus: e.g. `demo`, `folder`.
        speaker: speaker id, unique over corpora (`demo-s03`).
        group: id of the group. Speakers of one group count as related: they share a base voice, a
            programme or a video. Equal to `speaker` if nothing is known.
        gender: `f`, `m` or empty.
        split: `train`, `val`, `test`.
        path: relative to `data/raw`, with forward slashes.
        sha256: sha256 of the file.
        size_bytes: size of the file in bytes.
        licence: SPDX id or a short text.
        redistributable: whether the licence allows redistribution.
        text: transcript, or empty.
        video: id of the video or programme that the clip is part of; empty if unknown. Clips of
            one video must not be in two splits.
        origin: name in the corpus, without suffix (`id00012/<video>/00001`), or empty.
        annotation: scores that came with the corpus, e.g. `asd_conf`, `av_offset`.
        words: words of the transcript, if their times are known.
        word_times_s: start and end of each word (two values per word), in seconds of the clip.
    """

    clip_id: str
    corpus: str
    speaker: str
    group: str
    gender: str
    split: str
    path: str
    sha256: str
    size_bytes: int
    licence: str = ""
    redistributable: bool = False
    text: str = ""
    video: str = ""
    origin: str = ""
    annotation: dict[str, float] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    word_times_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for value in (self.clip_id, self.speaker, self.group):
            check_id(value)
        if self.split not in SPLITS:
            raise ValueError(f"split of {self.clip_id} is {self.split!r}, not one of {SPLITS}.")
        if self.gender not in ("", "f", "m"):
            raise ValueError(f"gender of {self.clip_id} is {self.gender!r}, not f, m or empty.")
        if len(self.word_times_s) != 2 * len(self.words):
            raise ValueError(
                f"{self.clip_id} has {len(self.words)} words and {len(self.word_times_s)} times;"
                " each word has a start and an end."
            )


@dataclass(frozen=True, kw_only=True)
class Clip(RawClip):
    """One row of `data/clips/clips.parquet`: a raw clip and the result of `clean`.

    Attributes:
        kept: whether `extract` takes it.
        reason: code of the reason why it is not kept; empty when kept.
        message: the reason in one sentence; or a remark on a clip that is kept.
        start_s: start of the span that both streams cover, in seconds of presentation time.
        end_s: end of that span.
        width: width of the picture as displayed (after rotation), in pixels.
        height: height of the picture as displayed, in pixels.
        fps: average number of frames per second of the source.
        audio_rate_hz: sample rate of the source.
        channels: number of audio channels of the source.
        level_dbfs: RMS level of the sound.
        dc_offset: mean of the samples over full scale.
        clipped_share: share of samples at full scale.
        speech_share: share of time above the gated level, or that silero-vad calls speech.
        snr_db: estimated level of speech over background.
        bandwidth_hz: highest frequency that carries speech.
    """

    kept: bool
    reason: str = ""
    message: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    audio_rate_hz: int = 0
    channels: int = 0
    level_dbfs: float = float("nan")
    dc_offset: float = float("nan")
    clipped_share: float = float("nan")
    speech_share: float = float("nan")
    snr_db: float = float("nan")
    bandwidth_hz: float = float("nan")

    @property
    def duration_s(self) -> float:
        """Length of the usable span, in seconds."""
        return self.end_s - self.start_s


# How the landmarks of a frame were obtained.
MISSING, DETECTED, INTERPOLATED, TURNED = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Landmarks:
    """68 landmarks per frame in the analysis frame, and how they were obtained. T frames.

    The analysis frame is the smoothed square face box, 1.5 times its side, resized to 224 pixels.
    Pixel centres are at integers, x to the right, y down, z in the same pixels, growing towards
    the camera from an arbitrary zero (0 if 2-D).

    Attributes:
        points: (T, 68, 3) float16.
        valid: (T,) uint8: 1 detected, 2 interpolated, 0 none, 3 seen but turned so far away that
            the landmarks are not exact.
        score: (T,) float16, confidence of the backend in 0..1.
        box: (T, 4) float32, the analysis square in the source picture: x, y, width, height over
            the picture's width and height.
        to_mean_face: (T, 2, 3) float32, affine from the analysis frame to the 256x256 frame of
            the mean face.
        crop_xy: (T, 2) float32, upper left corner of the mouth crop in the 256x256 frame.
    """

    points: np.ndarray
    valid: np.ndarray
    score: np.ndarray
    box: np.ndarray
    to_mean_face: np.ndarray
    crop_xy: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One tracked face with its sound: what a shard holds under one key. T frames.

    Attributes:
        key: `<clip_id>-t<n>`, n the number of the face track in the clip.
        audio: (640 T,) int16 at 16 kHz.
        lips: (T, 96, 96) uint8, grey.
        landmarks: see `Landmarks`.
        meta: the JSON member: at least `key`, `clip_id`, `corpus`, `speaker`, `group`, `gender`,
            `split`, `num_frames`, `num_samples`, `multi_voice` (bool), `quality` (scores),
            `licence`, `redistributable`, `text`, `backend`, `source` (sha256 and span).
    """

    key: str
    audio: np.ndarray
    lips: np.ndarray
    landmarks: Landmarks
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.lips)


@dataclass(frozen=True, kw_only=True)
class SourceRecipe:
    """One voice of a mixture.

    Attributes:
        key: sample key.
        speaker: speaker id.
        group: group id.
        gender: `f`, `m` or empty.
        start: first sample at 16 kHz; a multiple of 640, so that frames line up.
        gain_db: gain applied to the stored audio.
        level_db: measured level before the gain, in dBFS: the active level (ITU-T P.56) of the
            window, unless the protocol measures otherwise.
        sha256: sha256 of the stored int16 samples, so that a changed shard is noticed.
    """

    key: str
    speaker: str
    group: str
    gender: str
    start: int
    gain_db: float
    level_db: float
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class MixtureRecipe:
    """A mixture as a recipe, not as audio: rendering it is bit-stable.

    Attributes:
        mixture_id: id, unique in its list.
        protocol: name of the protocol, e.g. `strict-2mix`.
        version: version of the protocol.
        seed: seed that this mixture was drawn with.
        num_samples: length at 16 kHz; a multiple of 640.
        scale: joint factor of all voices; 1.0 unless the peak would clip.
        sources: the voices.
    """

    mixture_id: str
    protocol: str
    version: int
    seed: int
    num_samples: int
    scale: float
    sources: tuple[SourceRecipe, ...]


@dataclass(frozen=True, kw_only=True)
class NoiseRecipe:
    """The noise of a mixture.

    Attributes:
        path: path of the excerpt as FLAC; relative to the folder of the list in the file,
            absolute in a recipe that was read.
        source: name of the file that it was cut from.
        licence: licence of that file.
        start: first sample of the excerpt in the source, at 16 kHz.
        gain_db: gain applied to the excerpt.
        level_db: mean power of the excerpt, in dBFS.
        sha256: sha256 of the excerpt's int16 samples.
    """

    path: str
    source: str
    licence: str
    start: int
    gain_db: float
    level_db: float
    sha256: str


@dataclass(frozen=True, kw_only=True)
class NoisyRecipe(MixtureRecipe):
    """A mixture with noise under its voices.

    Attributes:
        noise: the noise.
    """

    noise: NoiseRecipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Cues:
    """What a separator sees of the target speaker: B items, F frames at 25 per second.

    Arrays for one item have no batch axis; both numpy arrays and tensors occur.

    Attributes:
        lips: (B, F, 96, 96) uint8.
        landmarks: (B, F, 68, 3) float32, pixels of the 224 analysis frame.
        valid: (B, F) uint8, see `Landmarks.valid`.
    """

    lips: Any
    landmarks: Any
    valid: Any
