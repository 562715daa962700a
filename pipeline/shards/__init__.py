"""Shards: finished samples in WebDataset tars, with a manifest and an index beside them.

The format is described in docs/shards.md well enough to be read with `tarfile` alone. What other
projects may rely on is `open_shards` and `ShardStore`; they load only when asked for, so that a
machine without WebDataset or PyAV can still import the modules that need neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.shards.reader import open_shards
    from pipeline.shards.store import ShardStore

__all__ = ["ShardStore", "open_shards"]

_HOMES = {"open_shards": "pipeline.shards.reader", "ShardStore": "pipeline.shards.store"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
