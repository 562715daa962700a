"""Read a set of shards as a stream with WebDataset. `ShardStore` reads samples by key.

WebDataset provides the pipeline, the splitting and the shuffling. Its own tar stages are not used:
they accept a tar that is cut off between two members, run shell commands for some shard names, and
unpickle some members.
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
from avsep.shards.manifest import check_size, checked_manifest
from avsep.shards.store import ShardStore
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

    The shards are divided among ranks and workers. These get unequal numbers of samples, so a
    distributed training must set the length of an epoch itself (`with_epoch`, `resampled`).

    Args:
        directory: folder with the manifest, the index and the shards.
        prefix: read only shards whose name begins with this: `train-`, `val-` or `test-`.
        shuffle: size of the shuffle buffer in samples; 0 keeps the order of the shards.
        seed: seed of the shuffling, which also depends on the epoch.
        nodesplitter: divides shards among ranks; `webdataset.split_by_node` when None.
        workersplitter: divides shards among DataLoader workers; `webdataset.split_by_worker`
            when None.

    Raises:
        CheckError: something is missing, or does not match the manifest.
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
    """The webdataset module, set so that it runs no shells and unpickles nothing."""
    os.environ["WDS_SECURE"] = "1"  # read once, on import
    import webdataset

    return webdataset


def _samples(directory: Path, storage: Storage, entries: Iterable[ShardEntry]) -> Iterator[Sample]:
    """The decoded samples of shards.

    Raises:
        CheckError: a shard or a sample is damaged, or does not match the manifest.
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
