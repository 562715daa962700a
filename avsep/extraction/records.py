"""Records of finished clips, so that no clip is extracted twice.

While a shard is being made, each finished clip has a small tar of its samples and a record. When
the shard is finished, these are removed, and one file with all records stays beside the shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avsep.errors import CheckError, Reason, State
from avsep.files import atomic_path, read_json, sha256_file, write_json
from avsep.outcome import Outcome
from avsep.shards import tar
from avsep.shards.codecs import MEMBERS, Storage


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """How one clip ended: done or dropped. Failed clips have no record and are tried again.

    Attributes:
        clip_id: id of the clip.
        settings: hash of everything that decides the samples, see `clip_hash`.
        reason: reason code of a dropped clip; empty when done.
        message: one sentence that explains the reason; empty when done.
        samples: key and number of frames of each sample.
        sha256: sha256 of the tar with the samples.
        seconds: time that the extraction took.
        steps: seconds per step, see `StepTimer`.
        left_out: number of faces that were left out, by reason, see `extraction.clip.OVER_LIMIT`.
    """

    clip_id: str
    settings: str
    reason: str = ""
    message: str = ""
    samples: tuple[tuple[str, int], ...] = ()
    sha256: str = ""
    seconds: float = 0.0
    left_out: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        """The clip's entry in the ledger."""
        if self.reason:
            return Outcome.ended(self.clip_id, Reason(self.reason), self.message, self.seconds)
        return Outcome.done(self.clip_id, self.seconds)


@dataclass(frozen=True)
class FinishedClip:
    """The record of a finished clip, and the tar that contains its samples."""

    record: ClipRecord
    path: Path


def clip_tar(folder: Path, clip_id: str) -> Path:
    """Path of the samples of a clip while its shard is being made."""
    return folder / f"{clip_id}.tar"


def save_finished_clip(
    folder: Path, record: ClipRecord, samples: Iterable[tuple[str, Mapping[str, bytes], int]]
) -> ClipRecord:
    """Write a clip's samples, then its record; returns the record with the hash of the tar."""
    files = [
        (f"{key}.{suffix}", content)
        for key, members, _ in samples
        for suffix, content in members.items()
    ]
    with atomic_path(clip_tar(folder, record.clip_id)) as temporary:
        _, sha256 = tar.write(temporary, files)
    record = ClipRecord(**{**vars(record), "sha256": sha256})
    write_json(_record_path(folder, record.clip_id), asdict(record))
    return record


def find_finished_clip(folder: Path, clip_id: str, settings: str) -> FinishedClip | None:
    """A clip that an interrupted run finished with the same settings, if its files are intact."""
    path = clip_tar(folder, clip_id)
    try:
        record = _parse(read_json(_record_path(folder, clip_id)))
    except CheckError:
        return None
    if record is None or (record.clip_id, record.settings) != (clip_id, settings):
        return None
    return (
        FinishedClip(record, path)
        if path.is_file() and sha256_file(path) == record.sha256
        else None
    )


def write_shard_records(path: Path, shard_sha256: str, records: Iterable[ClipRecord]) -> None:
    """Write the records of the clips of a finished shard."""
    rows = [asdict(record) for record in sorted(records, key=lambda r: r.clip_id)]
    write_json(path, {"shard_sha256": shard_sha256, "records": rows})


def finished_clips_of_shard(path: Path, shard: Path) -> dict[str, FinishedClip]:
    """The clips of a shard from an earlier run, by clip id; none when the shard is not intact."""
    try:
        content = read_json(path)
        if not shard.is_file() or sha256_file(shard) != content["shard_sha256"]:
            return {}
        records = [_parse(row) for row in content["records"]]
    except (CheckError, KeyError, TypeError):
        return {}
    return {record.clip_id: FinishedClip(record, shard) for record in records if record is not None}


class SampleReader:
    """Reads encoded samples from the tars of finished clips; scans each tar once."""

    def __init__(self, storage: Storage) -> None:
        self._names = MEMBERS[storage]
        self._scanned: dict[Path, dict[tuple[str, str], tar.Member]] = {}

    def read(self, path: Path, key: str) -> dict[str, bytes]:
        """The members of a sample, by suffix.

        Raises:
            ValueError: the tar is damaged or does not contain the sample.
        """
        if path not in self._scanned:
            self._scanned[path] = {(m.key, m.suffix): m for m in tar.scan(path)}
        members = self._scanned[path]
        if missing := [name for name in self._names if (key, name) not in members]:
            raise ValueError(f"{path} lacks {key}.{missing[0]}.")
        return {name: tar.read(path, members[key, name]) for name in self._names}


def _record_path(folder: Path, clip_id: str) -> Path:
    return folder / f"{clip_id}.json"


def _parse(row: Any) -> ClipRecord | None:
    """A record from JSON; None when it is damaged or its reason no longer exists."""
    try:
        samples = tuple((str(key), int(frames)) for key, frames in row["samples"])
        record = ClipRecord(**{**row, "samples": samples})
        if record.reason and Reason(record.reason).state is not State.DROPPED:
            return None
    except (KeyError, TypeError, ValueError):
        return None
    return record
