"""Splits of folders with few speakers: pairs in every split where that is possible."""

import pytest

from avsep.corpora.folder_splits import draw_splits
from avsep.corpora.ids import split_of
from avsep.corpora.speaker_list import SpeakerEntry


def folder(speakers: int, clips: int) -> dict[str, SpeakerEntry]:
    return {
        f"s{n}/{k}.mp4": SpeakerEntry(speaker=f"s{n}")
        for n in range(speakers)
        for k in range(clips)
    }


def speakers_of(entries, splits) -> dict[str, set[str]]:
    return {
        split: {entries[file].speaker for file, own in splits.items() if own == split}
        for split in ("train", "val", "test")
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("clips", [1, 2, 3])
@pytest.mark.parametrize("speakers", [1, 2, 3, 4, 5, 6, 7, 10, 20])
def test_every_split_has_a_pair_where_that_is_possible(speakers, clips, seed):
    entries = folder(speakers, clips)
    splits = draw_splits(entries, seed, 0.1, 0.1)
    assert splits.keys() == entries.keys()
    found = speakers_of(entries, splits)
    # Two speakers in each of three splits, and each speaker at most once per clip and split.
    if speakers >= 2 and speakers * min(clips, 3) >= 6:
        assert all(len(names) >= 2 for names in found.values())
    elif speakers >= 3:
        assert all(found.values())
    if speakers >= 6:
        assert sum(len(names) for names in found.values()) == speakers


@pytest.mark.parametrize("seed", range(5))
def test_where_there_are_many_clips_one_that_is_dropped_leaves_a_pair(seed):
    entries = folder(2, 8)
    splits = draw_splits(entries, seed, 0.1, 0.1)
    for dropped in entries:
        left = {file: split for file, split in splits.items() if file != dropped}
        assert all(len(names) == 2 for names in speakers_of(entries, left).values()), dropped


def test_splits_stay_where_every_split_has_a_pair():
    entries = folder(200, 2)
    splits = draw_splits(entries, 0, 0.1, 0.1)
    assert splits == {file: split_of(entry.speaker, 0, 0.1, 0.1) for file, entry in entries.items()}


def test_few_groups_move_and_a_named_split_and_a_share_of_zero_stay():
    entries = folder(12, 1)
    drawn = {file: split_of(entry.speaker, 0, 0.1, 0.1) for file, entry in entries.items()}
    splits = draw_splits(entries, 0, 0.1, 0.1)
    assert sum(splits[file] != drawn[file] for file in entries) <= 4
    assert set(draw_splits(entries, 0, 0.0, 0.0).values()) == {"train"}
    entries["s0/0.mp4"] = SpeakerEntry(speaker="s0", split="val")
    for seed in range(20):
        assert draw_splits(entries, seed, 0.1, 0.1)["s0/0.mp4"] == "val"


def test_speakers_of_one_group_do_not_count_as_a_pair():
    entries = {f"{n}.mp4": SpeakerEntry(speaker=f"s{n}", group=f"g{n // 2}") for n in range(12)}
    splits = draw_splits(entries, 0, 0.1, 0.1)
    for split in ("train", "val", "test"):
        assert len({entries[f].group for f, own in splits.items() if own == split}) >= 2
    by_group = {entries[f].group: set() for f in entries}
    for file, split in splits.items():
        by_group[entries[file].group].add(split)
    assert all(len(found) == 1 for found in by_group.values())
