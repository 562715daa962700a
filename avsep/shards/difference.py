"""Compare two versions of a set of shards, by shard and by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avsep.shards.index import read_index, same_row
from avsep.shards.manifest import checked_manifest

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Change:
    """Names of shards or samples, by what became of them.

    Attributes:
        same: names that are the same in both sets.
        removed: names that only the old set has.
        added: names that only the new set has.
        changed: names that both sets have with different content.
    """

    same: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def is_growth(self) -> bool:
        """Whether the new set contains all of the old one unchanged."""
        return not (self.removed or self.changed)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two sets differ: their shards as files, their samples by key.

    A sample counts as changed if its index row changed, which includes the hash of its sound. A
    change of its pictures alone shows only in its shard.

    Attributes:
        shards: the change of the shards.
        samples: the change of the samples.
    """

    shards: Change
    samples: Change


def compare_sets(old: Path, new: Path) -> Difference:
    """Compare two sets of shards by their manifests and indexes; no shard is read.

    Raises:
        CheckError: a set does not match its manifest.
    """
    old_shards, new_shards = (
        {shard.name: shard.sha256 for shard in checked_manifest(path).shards} for path in (old, new)
    )
    old_rows, new_rows = ({row.key: row for row in read_index(path)} for path in (old, new))
    both = old_rows.keys() & new_rows.keys()
    return Difference(
        shards=_change(
            old_shards,
            new_shards,
            {name for name, sha256 in old_shards.items() if new_shards.get(name) != sha256},
        ),
        samples=_change(
            old_rows, new_rows, {key for key in both if not same_row(old_rows[key], new_rows[key])}
        ),
    )


def _change(old: Mapping[str, T], new: Mapping[str, T], changed: set[str]) -> Change:
    both = old.keys() & new.keys()
    return Change(
        same=tuple(sorted(both - changed)),
        removed=tuple(sorted(old.keys() - new.keys())),
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(both & changed)),
    )
