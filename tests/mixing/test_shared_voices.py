"""Voices in other processes: spawned ones map the columns of their parent."""

from __future__ import annotations

import multiprocessing
import pickle
import re
from multiprocessing import context, reduction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from avsep.mixing.voice_columns import Voices, voice_schema
from avsep.mixing.voices import VoiceTable


def many(count: int) -> Voices:
    """Voices of a thousand speakers, three runs of speech each."""
    numbers = np.arange(count)
    names = pa.array([f"s{number % 1000:04d}" for number in numbers]).dictionary_encode()
    edges = pa.array(np.tile(np.array([0, 60, 70, 80, 90, 95], np.int32), count))
    ends = pa.array(np.arange(0, 6 * count + 1, 6, np.int32))
    columns = {
        "key": pa.array([f"clip-{number:07d}-t0" for number in numbers]),
        **dict.fromkeys(("speaker", "group", "gender"), names),
        "num_frames": pa.array(np.full(count, 100, np.int32)),
        "level_dbfs": pa.array(np.full(count, -20.0)),
        "sha256": pa.array([f"{number:064d}" for number in numbers]),
        "active": pa.ListArray.from_arrays(ends, edges),
    }  # fmt: skip
    schema = voice_schema()
    return Voices(pa.table([columns[name].cast(schema.field(name).type) for name in schema.names],
                           schema=schema))  # fmt: skip


def test_a_pickle_holds_the_voices():
    voices = many(50)
    assert list(pickle.loads(pickle.dumps(voices))) == list(voices)


@pytest.mark.slow
def test_what_a_spawned_process_gets_is_a_handle_and_no_copy():
    voices = many(20_000)
    table = VoiceTable(voices, 6400, 0.0)

    class Spawning:
        """As far as what is sent to a child of this very process is concerned."""

        DupFd = staticmethod(lambda fd: _Kept(fd))
        duplicate_for_child = staticmethod(lambda fd: fd)

    context.set_spawning_popen(Spawning)
    try:
        sent = bytes(reduction.ForkingPickler.dumps(table))
    finally:
        context.set_spawning_popen(None)
    assert len(sent) < 20_000 * 4 + 50_000 < 0.1 * voices.table().nbytes  # rows and speakers
    before = pa.total_allocated_bytes()
    came = pickle.loads(sent)
    assert pa.total_allocated_bytes() - before < 100_000
    assert came.voices_of("s0007")[3] == table.voices_of("s0007")[3]
    assert list(came.columns())[:50] == list(table.columns())[:50]


class _Kept:
    def __init__(self, fd):
        self.fd = fd

    def detach(self):
        import os

        return os.dup(self.fd)


def _own_mb(voices, connection) -> None:
    assert voices[len(voices) - 1].num_frames == 100
    text = Path("/proc/self/smaps_rollup").read_text("ascii")
    connection.send(sum(int(kb) for kb in re.findall(r"Private_\w+: +(\d+)", text)) / 1024)


@pytest.mark.slow
def test_a_spawned_process_has_no_voices_of_its_own():
    spawn = multiprocessing.get_context("spawn")
    own = []
    for count in (100, 300_000):
        here, there = spawn.Pipe()
        child = spawn.Process(target=_own_mb, args=(many(count), there))
        child.start()
        there.close()  # so that its end is noticed
        assert here.poll(240)
        own.append(here.recv())
        child.join()
    assert many(300_000).table().nbytes > 40e6
    assert own[1] - own[0] < 10
