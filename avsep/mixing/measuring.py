"""Measure the samples of a set of shards, in any process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import scipy.signal  # noqa: F401 once, before the workers are forked

from avsep.errors import CheckError, ItemError, Reason
from avsep.mixing.config import SelectionConfig
from avsep.mixing.selection import check_row, select_voice
from avsep.mixing.voices import Voice
from avsep.shards.index import IndexRow
from avsep.shards.store import ShardStore


def measure_sample(
    row: IndexRow,
    *,
    shards: Path,
    manifest_sha256: str,
    num_frames: Mapping[str, int],
    selection: SelectionConfig,
) -> Voice:
    """The voice of a sample.

    Args:
        row: row of the index.
        shards: folder of the set.
        manifest_sha256: hash of the set's manifest. A process opens the set once per manifest.
        num_frames: length of a mixture in frames, by split.
        selection: what the sample must be like.

    Raises:
        ItemError: the sample cannot be mixed, or its sound is not the one of the index.
    """
    check_row(row, num_frames[row.split], selection)  # before the sound is read
    try:
        audio = open_store(shards, manifest_sha256).audio(row.key)
    except CheckError as error:
        raise ItemError(Reason.FILE_CHANGED, str(error)) from error
    return select_voice(row, audio, num_frames[row.split], selection)


@lru_cache(maxsize=1)
def open_store(shards: Path, manifest_sha256: str) -> ShardStore:
    """The set in a folder, opened once per process while its manifest has this hash."""
    return ShardStore(shards)
