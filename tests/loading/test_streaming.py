"""Mixtures of a set that is read in sequence: the same items, every shard once, nothing twice."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from avsep.errors import CheckError
from avsep.loading.config import AugmentConfig
from avsep.loading.mixtures import TrainMixtures, collate
from avsep.loading.sampler import EpochSampler, StretchSampler
from avsep.loading.streaming import StreamDraw
from avsep.shards.store import ShardStore
from avsep.shards.stream_store import StreamStore
from tests.support.range_server import serving_folder
from tests.support.streamed_set import NUM_FRAMES, write_streamed_set

AUGMENT = AugmentConfig(crop=True, flip=0.5, speed=0.2, eq_db=6.0, noise_px=0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("streamed") / "set"
    return directory, write_streamed_set(directory)


@pytest.fixture
def server(made):
    with serving_folder(made[0]) as server:
        yield server


def items(where, listed, folder, *, shards=2, keep=4, **options) -> TrainMixtures:
    store = StreamStore(where, folder=folder, keep=keep)
    draw = StreamDraw(store, listed, shards=shards)
    options = {"seed": 3, "cues": ("lips", "landmarks"), "augment": AUGMENT} | options
    return TrainMixtures(store, draw, **options)


def digest(item) -> str:
    made = hashlib.sha256()
    for name, value in sorted(item.items()):
        made.update(name.encode())
        made.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return made.hexdigest()


def shard_of(store) -> dict[str, str]:
    return {row.key: row.shard for row in store.index}


@pytest.mark.slow
def test_items_are_those_of_the_data_set_by_number_and_of_any_place(made, server, tmp_path):
    directory, listed = made
    local = items(directory, listed, tmp_path)
    draw = StreamDraw(StreamStore(directory, folder=tmp_path), listed)
    usual = TrainMixtures(
        ShardStore(directory), draw, seed=3, cues=("lips", "landmarks"), augment=AUGMENT
    )
    remote = items(server.address, listed, tmp_path)
    assert local.items_per_epoch == 24  # one per voice
    for number in (0, 1, 7, 23, 24, 61):
        wanted = digest(usual[number])
        assert digest(local[number]) == wanted
        assert digest(remote[number]) == wanted
    assert local[5]["lips"].shape == (NUM_FRAMES, 88, 88)
    assert local[5]["mixture"].shape == (NUM_FRAMES * 640,)


@pytest.mark.slow
def test_an_epoch_reads_every_shard_once_and_pairs_what_is_in_the_buffer(made, server, tmp_path):
    data = items(server.address, made[1], tmp_path, keep=2)
    where = shard_of(ShardStore(made[0]))
    epochs = []
    for epoch in range(2):
        server.asked.clear()
        buffers = []
        for number in range(epoch * 12, (epoch + 1) * 12):
            recipe = data._draw(number)
            for source in recipe.sources:
                data._store.audio(source.key)
            one, other = recipe.sources
            assert one.speaker != other.speaker
            assert one.group != other.group
            buffers.append({where[one.key], where[other.key]})
        assert set(server.asked.values()) == {1}
        assert epoch or set(server.asked) == set(where.values())
        together = [frozenset().union(*buffers[first : first + 4]) for first in (0, 4, 8)]
        assert [len(shards) for shards in together] == [2, 2, 2]  # four mixtures to a buffer
        assert len(frozenset().union(*together)) == 6
        epochs.append(together)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("stretches", [1, 2, 3])
def test_no_item_comes_twice_and_machines_read_their_own_shards(made, tmp_path, stretches):
    """Whatever the number of ranks, a step has the same items."""
    data = items(made[0], made[1], tmp_path, shards=1)
    options = {"items": 6, "items_per_epoch": data.items_per_epoch, "stretches": stretches}
    steps = []
    for ranks in (1, 2, 3, 6):
        order = StretchSampler(num_ranks=ranks, **options)
        assert order.steps_per_epoch == 4
        steps.append(
            [[n for rank in range(ranks) for n in order.items_of(s, rank)] for s in range(8)]
        )
    assert all(one == steps[0] for one in steps)
    numbers = [number for step in steps[0] for number in step]
    assert sorted(numbers) == list(range(48))
    order = StretchSampler(num_ranks=stretches, **options)
    for rank in range(stretches):
        mine = [number for step in range(4) for number in order.items_of(step, rank)]
        buffers = {data._draw._epoch.firsts.searchsorted(n // 2, "right") for n in mine}
        assert len(buffers) == 6 // stretches  # of six shards


@pytest.mark.parametrize("position", [0, 5, 9, 12])
@pytest.mark.slow
def test_a_run_that_stopped_goes_on_like_one_that_did_not(made, server, tmp_path, position):
    def run(position, steps, folder):
        data = items(server.address, made[1], folder)
        order = EpochSampler(items=2, steps=100, position=lambda: position)
        server.asked.clear()
        batches = islice(order, steps)
        given = [(number, digest(data[number])) for batch in batches for number in batch]
        return given, {name for name in server.asked if name.endswith(".tar")}

    whole, _ = run(0, 20, tmp_path / "whole")  # an epoch has 12 steps
    rest, asked = run(position, 20 - position, tmp_path / "rest")
    assert rest == whole[2 * position :]
    needed = items(made[0], made[1], tmp_path)._draw
    wanted = set()
    for number in {n // 2 for n, _ in rest}:
        epoch = needed._ordered(number // 12)
        wanted |= set(epoch.buffers[int(epoch.firsts.searchsorted(number % 12, "right")) - 1])
    assert asked <= {f"train-{shard:06d}.tar" for shard in wanted | _following(needed, rest)}


def _following(draw, given) -> set[int]:
    """The shards of the buffer after the last one, which may have been begun."""
    epoch, number = divmod(given[-1][0] // 2, draw.per_epoch)
    order = draw._ordered(epoch)
    buffer = int(order.firsts.searchsorted(number, "right"))
    return set(order.buffers[buffer]) if buffer < len(order.buffers) else set()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork"])
def test_two_ranks_of_two_processes_give_what_one_process_gives(made, server, tmp_path, start):
    alone = items(made[0], made[1], tmp_path)
    found: dict[int, str] = {}
    for rank in range(2):
        data = items(server.address, made[1], tmp_path, keep=6)
        order = EpochSampler(items=4, steps=6, rank=rank, num_ranks=2)
        loader = DataLoader(
            data,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=2,
            multiprocessing_context=start,
        )
        for batch in loader:
            for place, number in enumerate(batch["item"].tolist()):
                assert number not in found
                found[number] = digest({"mixture": batch["mixture"][place].numpy()})
    assert sorted(found) == list(range(24)) == list(range(alone.items_per_epoch))
    for number in (0, 5, 11, 12, 23):
        assert found[number] == digest({"mixture": alone[number]["mixture"]})
    assert {n for name, n in server.asked.items() if name.endswith(".tar")} == {1}


def test_shards_that_give_no_pair_are_joined_with_their_neighbours(tmp_path):
    # Two shards hold one speaker each, so neither gives a pair alone.
    listed = write_streamed_set(tmp_path / "set", shards=4, clips=4)
    only = [v for v in listed.voices if v.speaker in "ab"]
    of = shard_of(StreamStore(tmp_path / "set", folder=tmp_path))
    kept = [v for v in only if (of[v.key][-5] in "01") == (v.speaker == "a")]
    draw = StreamDraw(
        StreamStore(tmp_path / "set", folder=tmp_path), replace(listed, voices=kept), shards=1
    )
    for epoch in range(4):
        order = draw._ordered(epoch)
        assert sorted(shard for buffer in order.buffers for shard in buffer) == [0, 1, 2, 3]
        for number in range(draw.per_epoch):
            one, other = draw(epoch * draw.per_epoch + number).sources
            assert {one.speaker, other.speaker} == {"a", "b"}


@pytest.mark.parametrize("version", [1, 2])
def test_mixtures_are_drawn_by_the_version_of_the_list(made, tmp_path, version):
    listed = replace(made[1], protocol="ctcnet-2mix", version=version)
    draw = StreamDraw(StreamStore(made[0], folder=tmp_path), listed, shards=6)
    assert {draw(number).version for number in range(3)} == {version}


@pytest.mark.slow
def test_a_list_of_another_set_and_too_few_voices_are_one_sentence(made, tmp_path):
    directory, listed = made
    store = StreamStore(directory, folder=tmp_path)
    voices = list(listed.voices)
    for changed in (replace(voices[3], sha256="0" * 64), replace(voices[3], key="a99")):
        with pytest.raises(CheckError, match=rf"lacks the sample {changed.key}, or has another"):
            StreamDraw(store, replace(listed, voices=[*voices[:3], changed, *voices[4:]]))
    alone = [voice for voice in voices if voice.speaker == "a"]
    with pytest.raises(CheckError, match="no two of its voices"):
        StreamDraw(store, replace(listed, voices=alone))
    with pytest.raises(ValueError, match="shards is 0"):
        StreamDraw(store, listed, shards=0)
    three = StreamDraw(
        store,
        replace(listed, protocol="strict-3mix", voices=[v for v in voices if v.speaker in "ab"]),
    )
    with pytest.raises(CheckError, match="Or put more shards into the buffer"):
        three(0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"items": 32, "items_per_epoch": 31, "stretches": 4}, "an epoch has 31 items, fewer"),
        ({"items": 3, "items_per_epoch": 99, "stretches": 2}, "2 stretches cannot share 3 items"),
        ({"items": 3, "items_per_epoch": 99, "stretches": 3, "num_ranks": 2}, "2 ranks cannot"),
        ({"items": 0, "items_per_epoch": 99, "stretches": 1}, "must be at least 1"),
        ({"items": 1, "items_per_epoch": 99, "stretches": 0}, "0 stretches"),
    ],
)
def test_an_order_that_cannot_be_is_one_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        StretchSampler(**options)


@pytest.mark.slow
def test_nothing_is_imported_for_addresses_before_there_is_one(made, tmp_path):
    code = (
        "import sys\n"
        "from avsep.loading.streaming import StreamDraw\n"
        "from avsep.shards.stream_store import StreamStore\n"
        "from pathlib import Path\n"
        f"StreamStore({str(made[0])!r}, folder=Path({str(tmp_path)!r})).audio('a0')\n"
        "print(sorted({'webdataset', 'aiohttp', 's3fs'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
