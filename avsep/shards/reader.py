"""Read a set of shards as a stream with WebDataset; by key there is `ShardStore`.

WebDataset lends its pipeline, splitting and shuffling. Its own tar stages are left out: they take
a tar that is cut or damaged between two members for a whole one, run shell commands for some
names of shards, and unpickle some members.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.schema import Sample
from avsep.shards import tar
from avsep.shards.codecs import Storage, decode_sample
from avsep.shards.store import ShardStore, check_size, checked_manifest
from avsep.shards.writer import ShardEntry, keys_sha256

__all__ = ["ShardStore", "open_shards"]

Splitter = Callable[[Iterable[Any]], Iterator[Any]]


def open_shards(
    directory: Path | str,
    *,
    prefix: str = "",
    shuffle: int = 0,
    seed: int = 0,
    nodesplitter: Splitter | None = None,
    workersplitter: Splitter | None = None,
) -> Any:
    """A `webdataset.DataPipeline` of `schema.Sample`, for loops and DataLoader workers.

    Ranks and workers share the shards out among them. They get unequal numbers of samples, so a
    distributed training must set its own length of an epoch (`with_epoch`, `resampled`).

    Args:
        directory: holds the manifest, the index and the shards.
        prefix: only shards whose name begins so: `train-`, `val-`, `test-`.
        shuffle: size of the shuffle buffer, in samples; 0 keeps the order of the shards.
        seed: of the shuffling, which also depends on the epoch.
        nodesplitter: shares shards out among ranks; `webdataset.split_by_node` when None.
        workersplitter: likewise among DataLoader workers; `webdataset.split_by_worker`.

    Raises:
        CheckError: something is missing or is not what the manifest says.
    """
    wds = _webdataset()
    manifest = checked_manifest(Path(directory))
    entries = [shard for shard in manifest.shards if shard.name.startswith(prefix)]
    if not entries:
        raise CheckError(f"{directory} has no shard whose name begins with {prefix!r}.")
    return wds.DataPipeline(
        partial(iter, entries),
        wds.detshuffle(len(entries), initial=len(entries), seed=seed) if shuffle else None,
        nodesplitter or wds.split_by_node,
        workersplitter or wds.split_by_worker,
        partial(_samples, Path(directory), manifest.storage),
        wds.detshuffle(shuffle, initial=shuffle, seed=seed) if shuffle else None,
    )


def _webdataset() -> Any:
    """The webdataset module, with the settings that keep it from shells and pickles."""
    os.environ["WDS_SECURE"] = "1"  # read once, on import
    import webdataset

    return webdataset


def _samples(directory: Path, storage: Storage, entries: Iterable[ShardEntry]) -> Iterator[Sample]:
    """The decoded samples of shards.

    Raises:
        CheckError: a shard or a sample is damaged, or is not what the manifest says.
    """
    for entry in entries:
        path = directory / entry.name
        check_size(path, entry)
        try:
            members = tar.scan(path)
            keys = [key for key, _ in groupby(members, key=attrgetter("key"))]
            if keys_sha256(keys) != entry.keys_sha256:
                raise ValueError("its samples are not those of the manifest.")
            for key, group in groupby(members, key=attrgetter("key")):
                content = {member.suffix: tar.read(path, member) for member in group}
                yield decode_sample(key, content, storage)
        except (ValueError, OSError) as error:
            raise CheckError(f"{path}: {error}") from error
