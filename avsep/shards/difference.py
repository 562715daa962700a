"""What two versions of a set of shards have in common, by shard and by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avsep.shards.index import read_index, same_row
from avsep.shards.store import checked_manifest

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Change:
    """Names of what is the same, only in the old set, only in the new one, or other in it."""

    same: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def is_none(self) -> bool:
        """Whether both are the same."""
        return not (self.removed or self.added or self.changed)

    @property
    def is_growth(self) -> bool:
        """Whether all of the old is in the new as it was."""
        return not (self.removed or self.changed)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two sets differ: their shards as files, their samples by key.

    A sample has changed where its row of the index has, its sound included; the pictures of a
    sample can also change without, and then its shard has.
    """

    shards: Change
    samples: Change


def compare_sets(old: Path, new: Path) -> Difference:
    """Compare two sets of shards by their manifests and indexes; no shard is read.

    Raises:
        CheckError: a set is not what its manifest says.
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


def _change(old: Mapping[str, T], new: Mapping[str, T], other: set[str]) -> Change:
    both = old.keys() & new.keys()
    return Change(
        same=tuple(sorted(both - other)),
        removed=tuple(sorted(old.keys() - new.keys())),
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(both & other)),
    )
