"""Encode samples as members of a tar, decode them, and check that they are consistent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from avsep.files import dump_json
from avsep.media import pcm
from avsep.schema import SAMPLES_PER_FRAME, SPLITS, Landmarks, Sample, check_id
from avsep.shards import landmarks, lips

Storage = Literal["compact", "plain"]

JSON, LANDMARKS = "json", "lmk.npz"
AUDIO: dict[Storage, str] = {"compact": "flac", "plain": "wav"}
LIPS: dict[Storage, str] = {"compact": "lips.mp4", "plain": "lips.npy"}

# The members of every sample, in their order in the tar.
MEMBERS: dict[Storage, tuple[str, ...]] = {
    "compact": ("flac", "json", "lips.mp4", "lmk.npz"),
    "plain": ("json", "lips.npy", "lmk.npz", "wav"),
}

# The keys of every JSON member; see `schema.Sample.meta`.
META_KEYS = frozenset(
    {
        "audio_sha256",
        "backend",
        "clip_id",
        "corpus",
        "gender",
        "group",
        "key",
        "level_dbfs",
        "licence",
        "multi_voice",
        "num_frames",
        "num_samples",
        "quality",
        "redistributable",
        "source",
        "speaker",
        "split",
        "text",
        "version",
    }
)


def encode_json(meta: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no NaN, one line."""
    return (dump_json(meta, indent=None) + "\n").encode("utf-8")


def decode_json(content: bytes) -> dict[str, Any]:
    """The values of a JSON member.

    Raises:
        ValueError: the content is not a JSON object, or keys are missing.
    """
    try:
        meta = json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("the json member is nested too deeply.") from error
    if not isinstance(meta, dict):
        raise ValueError("the json member is not an object.")
    if missing := META_KEYS - meta.keys():
        raise ValueError(f"the json member lacks {', '.join(sorted(missing))}.")
    return meta


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "flac": pcm.decode_flac,
    "wav": pcm.decode_wav,
    "lips.mp4": lips.decode_mp4,
    "lips.npy": lips.decode_npy,
    LANDMARKS: landmarks.decode_npz,
    JSON: decode_json,
}


def encode_sample(
    sample: Sample, storage: Storage, *, lips_crf: int = lips.DEFAULT_CRF
) -> dict[str, bytes]:
    """The members of a sample, by suffix, in the order of `MEMBERS`.

    Raises:
        ValueError: the sample is not consistent, see `check_sample`.
    """
    check_sample(sample)
    compact = storage == "compact"
    members = {
        AUDIO[storage]: (pcm.encode_flac if compact else pcm.encode_wav)(sample.audio),
        JSON: encode_json(sample.meta),
        LIPS[storage]: lips.encode_mp4(sample.lips, crf=lips_crf)
        if compact
        else lips.encode_npy(sample.lips),
        LANDMARKS: landmarks.encode_npz(sample.landmarks),
    }
    return {suffix: members[suffix] for suffix in MEMBERS[storage]}


def decode_member(suffix: str, content: bytes) -> Any:
    """One member as an array, `Landmarks` or dict.

    Raises:
        ValueError: there is no such kind of member, or it is damaged.
    """
    if suffix not in _DECODERS:
        raise ValueError(f"no member of a sample ends in .{suffix}.")
    return _DECODERS[suffix](content)


def decode_sample(key: str, members: Mapping[str, bytes], storage: Storage) -> Sample:
    """A sample from its members, checked.

    Raises:
        ValueError: members are missing, unknown, damaged, or do not fit each other.
    """
    check_members(key, members, storage)
    sample = Sample(
        key=key,
        audio=decode_member(AUDIO[storage], members[AUDIO[storage]]),
        lips=decode_member(LIPS[storage], members[LIPS[storage]]),
        landmarks=decode_member(LANDMARKS, members[LANDMARKS]),
        meta=decode_json(members[JSON]),
    )
    check_sample(sample)
    return sample


def check_members(key: str, members: Mapping[str, Any], storage: Storage) -> None:
    """Pass when the members are exactly those of the storage.

    Raises:
        ValueError: names the missing or the unknown members.
    """
    wanted = set(MEMBERS[storage])
    if missing := sorted(wanted - members.keys()):
        raise ValueError(f"sample {key} lacks the member(s) {', '.join(missing)}.")
    if unknown := sorted(members.keys() - wanted):
        raise ValueError(f"sample {key} has the unknown member(s) {', '.join(unknown)}.")


def check_sample(sample: Sample) -> None:
    """Pass when sound, lips, landmarks and meta agree: T frames, 640 T samples, finite.

    Raises:
        ValueError: names the sample and what does not fit.
    """
    check_id(sample.key)
    num_frames = sample.num_frames
    landmark_frames = _landmark_frames(sample.key, sample.landmarks)
    if landmark_frames != num_frames:
        raise ValueError(f"sample {sample.key}: {num_frames} lips, {landmark_frames} landmarks.")
    if len(sample.audio) != SAMPLES_PER_FRAME * num_frames:
        raise ValueError(
            f"sample {sample.key}: {len(sample.audio)} samples of sound for {num_frames} frames;"
            f" expected {SAMPLES_PER_FRAME * num_frames}."
        )
    facts = {"key": sample.key, "num_frames": num_frames, "num_samples": len(sample.audio)}
    facts["audio_sha256"] = pcm.pcm_sha256(sample.audio)
    if missing := META_KEYS - sample.meta.keys():
        raise ValueError(f"sample {sample.key}: meta lacks {', '.join(sorted(missing))}.")
    for name, value in facts.items():
        if sample.meta[name] != value:
            raise ValueError(
                f"sample {sample.key}: meta says {name} is {sample.meta[name]!r}, it is {value!r}."
            )
    if sample.meta["split"] not in SPLITS:
        raise ValueError(f"sample {sample.key}: split is {sample.meta['split']!r}.")


def _landmark_frames(key: str, value: Landmarks) -> int:
    try:
        return landmarks.check_landmarks(value)
    except ValueError as error:
        raise ValueError(f"sample {key}: {error}") from error
