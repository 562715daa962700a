"""Which split each clip of a folder is in, also where there are few speakers.

A pair to mix needs two speakers of different groups, so each split needs two groups. A hash of each
group decides. Where that leaves a split short, groups move; where there are too few groups, the
clips of a group are divided over the splits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from avsep.corpora.ids import hash_fraction, split_of
from avsep.corpora.speaker_list import SpeakerEntry

PAIR = 2  # groups that a mixture needs
SPARED_FROM = 8  # clips of a group, from which on it gives each split one to spare


def draw_splits(
    entries: Mapping[str, SpeakerEntry], seed: int, val_share: float, test_share: float
) -> dict[str, str]:
    """The split of each file; one that an entry names stays, and a share of 0 stays empty."""
    shares = {"train": 1 - val_share - test_share, "val": val_share, "test": test_share}
    needed = [split for split, share in shares.items() if share > 1e-9]
    fixed = {file: entry.split for file, entry in entries.items() if entry.split}
    files: dict[str, list[str]] = defaultdict(list)
    for file, entry in entries.items():
        if not entry.split:
            files[group_of(entry)].append(file)
    groups: dict[str, set[str]] = {split: set() for split in shares}
    for file, split in fixed.items():
        groups[split].add(group_of(entries[file]))
    drawn = {group: split_of(group, seed, val_share, test_share) for group in files}
    order = sorted(drawn, key=lambda group: (hash_fraction(group, seed), group))

    def of_groups(splits: Mapping[str, str]) -> dict[str, str]:
        return fixed | {file: splits[group] for group in files for file in files[group]}

    if (moved := _moved(drawn, order, groups, needed, PAIR)) is not None:
        return of_groups(moved)
    if (kept := _divided(files, order, groups, needed, seed)) is not None:
        rest = [file for group in files for file in files[group] if file not in kept]
        return fixed | kept | {f: split_of(f, seed, val_share, test_share) for f in rest}
    # No list of pairs is possible; `mix` says so.
    moved = _moved(drawn, order, groups, needed, 1)
    return of_groups(drawn if moved is None else moved)


def group_of(entry: SpeakerEntry) -> str:
    """The name of the group that decides the split of a clip."""
    return entry.group or entry.speaker


def _moved(
    drawn: Mapping[str, str],
    order: list[str],
    groups: Mapping[str, set[str]],
    needed: list[str],
    least: int,
) -> dict[str, str] | None:
    """The splits with as few groups moved as give each needed split `least`; None if too few."""
    splits = dict(drawn)

    def count() -> Counter[str]:
        free = Counter(splits.values())
        return Counter({split: len(groups[split]) + free[split] for split in groups})

    for split in needed:
        while count()[split] < least:
            sizes = count()
            donors = [group for group in order if sizes[splits[group]] > least]
            if not donors:
                return None
            splits[max(donors, key=lambda group: sizes[splits[group]])] = split
    return splits


def _divided(
    files: Mapping[str, list[str]],
    order: list[str],
    groups: Mapping[str, set[str]],
    needed: list[str],
    seed: int,
) -> dict[str, str] | None:
    """One clip of each of two groups for each needed split; None if there are too few clips.

    Two where there are many, so that a clip that is dropped later does not leave a split without a
    pair.
    """
    left = {g: sorted(files[g], key=lambda file: (hash_fraction(file, seed), file)) for g in order}
    splits: dict[str, str] = {}
    for split in needed:
        # Groups with the most clips left come first: no other choice reaches further.
        able = [group for group in order if left[group] and group not in groups[split]]
        able.sort(key=lambda group: -len(left[group]))
        missing = max(0, PAIR - len(groups[split]))
        if len(able) < missing:
            return None
        for group in able[:missing]:
            for _ in range(2 if len(files[group]) >= SPARED_FROM else 1):
                splits[left[group].pop(0)] = split
    return splits
