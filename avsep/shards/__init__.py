"""Shards: finished samples in WebDataset tars, with a manifest and an index beside them.

docs/shards.md describes the format in enough detail to read it with `tarfile` alone. Other projects
may rely on `open_shards` and `ShardStore`. They are imported on first use, so that a machine
without WebDataset or PyAV can import the modules that need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avsep.shards.reader import open_shards
    from avsep.shards.store import ShardStore

__all__ = ["ShardStore", "open_shards"]


def __getattr__(name: str) -> Any:
    if name == "open_shards":
        from avsep.shards.reader import open_shards

        return open_shards
    if name == "ShardStore":
        from avsep.shards.store import ShardStore

        return ShardStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
