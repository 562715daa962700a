"""No landmark file runs code, ends the process or fills the memory."""

import contextlib
import json
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.faces import landmark_files, plain_pickle
from avsep.faces.landmark_files import read_landmarks
from avsep.faces.plain_pickle import PlainPickleError, load_plain

TYPE = b"cnumpy\ndtype\n(U\x02f8I0\nI1\ntR"
BAD_STATES = (
    b"(I3\nU\x01<NNN(I1\nI2\nttb.",
    b"(I3\nU\x01|N(U\x01at}U\x01a(" + TYPE + b"I-1\ntsI-9\nI1\nI0\ntb.",
    b"(I3\nU\x01|(" + TYPE + b"(I-1\nttNNI-1\nI-1\nI0\ntb.",
    b"(I4\nU\x01<NNNI1000000000\nI1000000000\nI63\nNtb.",
)
HUGE = (
    b"\x80\x04\x8e" + (1 << 32).to_bytes(8, "little") + b".",
    b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b".",
    b"\x80\x04\x96" + b"\xff" * 8 + b".",
    b"\x80\x02B\xff\xff\xff\x7f.",
    b"\x80\x02\x8b\xff\xff\xff\x7f.",
)


def points() -> np.ndarray:
    return np.arange(136, dtype=np.float32).reshape(68, 2)


@pytest.mark.parametrize("state", BAD_STATES)
def test_a_type_with_a_damaged_state_is_refused_or_stays_a_plain_number(state):
    """It ended the process before; here its state gives the byte order alone."""
    try:
        value = load_plain(TYPE + state)
    except PlainPickleError:
        return
    assert type(value) is plain_pickle.NumberType
    assert value.numpy() in (np.dtype("<f8"), np.dtype(">f8"))


def test_no_object_of_c_is_made_by_what_the_file_says():
    for name, call in plain_pickle._CALLS.items():
        assert call.__module__ == "avsep.faces.plain_pickle", name
    for step in plain_pickle._STEPS.values():
        assert step.__module__ == "avsep.faces.plain_pickle"
    unused = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
    unused |= {"NEXT_BUFFER", "READONLY_BUFFER", "EMPTY_SET", "ADDITEMS", "FROZENSET"}
    for name in unused:
        assert getattr(pickle, name)[0] not in plain_pickle._STEPS, name


@pytest.mark.parametrize("content", HUGE)
def test_a_size_that_the_file_does_not_hold_is_refused_before_anything_is_reserved(content):
    with pytest.raises(PlainPickleError):
        load_plain(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"}" * 200_000 + b".",
        b"N" + b"\x85" * 200_000 + b".",
        b"N" + b"\x94" * 200_000 + b".",
        b"".join(b"Nr" + number.to_bytes(4, "little") for number in range(100_000)) + b".",
    ],
    ids=["lists", "dicts", "tuples", "memo", "places"],
)
def test_the_number_of_values_is_limited(content, monkeypatch):
    monkeypatch.setattr(plain_pickle, "MAX_VALUES", 50_000)
    with pytest.raises(PlainPickleError, match="more than 50000 values"):
        load_plain(content)


def test_the_number_of_steps_is_limited(monkeypatch):
    monkeypatch.setattr(plain_pickle, "MAX_STEPS", 1000)
    with pytest.raises(PlainPickleError, match="more than 1000 opcodes"):
        load_plain(b"N0" * 2000 + b".")


def test_what_names_itself_over_and_over_does_not_grow():
    laughs = b"(K\x01K\x02lq\x00" + b"".join(
        b"(" + b"h" + bytes([n]) + b"h" + bytes([n]) + b"lq" + bytes([n + 1]) for n in range(60)
    )
    with pytest.raises(PlainPickleError):
        load_plain(laughs + b".")
    encode = (
        b"c_codecs\nencode\nq\x01X\x10'\x00\x00"
        + b"a" * 10_000
        + b"q\x02X\x06\x00\x00\x00latin1q\x030"
    )
    again = b"h\x01h\x02h\x03\x86R0"
    with pytest.raises(PlainPickleError, match="unpacks to more than it holds"):
        load_plain(encode + again * 100 + b"N.")


def test_frames_that_share_a_list_that_grows_are_refused(tmp_path):
    point = [0.0, 1.0]
    deep = point
    for _ in range(30):
        deep = [deep, deep]  # 2 ** 30 numbers, in a few bytes
    path = tmp_path / "x.pkl"
    for frame in (deep, [deep] * 68, [[deep, deep]] * 68):
        path.write_bytes(pickle.dumps([frame]))
        with pytest.raises(ItemError) as caught:
            read_landmarks(path)
        assert caught.value.reason is Reason.BAD_ANNOTATION


def test_frames_that_are_lists_or_numbers_of_numpy_are_read(tmp_path):
    path = tmp_path / "x.pkl"
    for frame in (points().tolist(), list(points()), [tuple(row) for row in points()]):
        for protocol in range(6):
            path.write_bytes(pickle.dumps([frame, None], protocol=protocol))
            read = read_landmarks(path)
            np.testing.assert_array_equal(read[0], points())
            assert read[1] is None


def test_damaged_files_give_one_kind_of_error(tmp_path):
    rng = random.Random(1)
    path = tmp_path / "x.pkl"
    good = [pickle.dumps([points(), None, {"facial_landmarks": points()}], p) for p in range(6)]
    for _ in range(300):
        content = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randrange(len(content)) if rng.random() < 0.2 else None])
        with contextlib.suppress(ItemError):
            read_landmarks(path)


def nested(value: bytes, depth: int) -> bytes:
    """A value in `depth` tuples, each of which holds it once."""
    return value + b"\x85" * depth


def shared(value: bytes, depth: int) -> bytes:
    """A value in `depth` pairs, each of the one before and itself: 2 ** depth to walk through."""
    pairs = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(depth))
    return value + pairs


TEXT = b"\x8c\x01x"
TYPE_SO_FAR = TYPE + b"(I3\n"
SHAPES = [nested(TEXT, 200_000), shared(TEXT, 100)]


PLACES = [
    (b"\x8c\x05numpy", b"\x93"),
    (b"", TEXT + b"\x93"),
    (b"}", b"Ns"),
    (b"}(", b"Nu"),
    (b"(", b"Nd"),
    (b"cnumpy\ndtype\n", b"\x85R"),
    (b"cnumpy\ndtype\n", b"R"),
    (b"cnumpy.core.multiarray\nscalar\n" + TYPE, b"\x86R"),
    (b"c_codecs\nencode\n" + TEXT, b"\x86R"),
    (b"cnumpy.core.numeric\n_frombuffer\n(NNN", b"tR"),
    (b"cnumpy.core.numeric\n_frombuffer\n(N" + TYPE, b"\x85NtR"),
    (TYPE + b"(I3\n", b"tb"),
    (TYPE, b"b"),
    (b"cnumpy.core.multiarray\n_reconstruct\n)R(I1\n", TYPE + b"NNtb"),
    (b"", b"b"),
    (b"", b"NR"),
    (b"N", b"a"),
]


@pytest.mark.slow
def test_a_value_that_is_deep_or_shared_is_never_walked_through():
    """In a process of its own: hashing a deep tuple ends it, and a shared one takes for ever."""
    code = (
        "import json, sys\nfrom avsep.faces.plain_pickle import PlainPickleError, load_plain\n"
        "for content in json.load(sys.stdin):\n"
        "    try: load_plain(content.encode('latin1'))\n"
        "    except PlainPickleError as error: print(error, flush=True)"
    )
    files = [(a + value + b + b".").decode("latin1") for a, b in PLACES for value in SHAPES]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(files), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(files), done.stdout


def test_a_name_in_the_message_is_short_and_printable():
    name = b"\x8c\x02os\x8c\x04\x1b[0m\x93."
    with pytest.raises(PlainPickleError, match=r"names 'os\.\\x1b\[0m', which is not allowed"):
        load_plain(name)
    long = b"X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20)
    with pytest.raises(PlainPickleError) as caught:
        load_plain(long + long + b"\x93.")
    assert len(str(caught.value)) < 300


def test_many_arguments_are_not_copied_at_each_call():
    """Each call would take them all again: a time that grows with the square of the size."""
    content = b"cnumpy.core.multiarray\n_reconstruct\n(" + b"N" * 5 + b"tR."
    with pytest.raises(PlainPickleError, match="arguments"):
        load_plain(content)


@pytest.mark.parametrize("shape", [(1 << 20,), (0,), (2, 1), (1, 2), (2, 1 << 19), ()])
def test_an_array_that_is_no_point_is_refused_before_it_becomes_numbers(tmp_path, shape):
    """A file may name one large array as each of its points."""
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([[np.zeros(shape, np.float32)] * 68]))
    refused(path)
    path.write_bytes(pickle.dumps([[[np.zeros(shape or (2,), np.float32)] * 2] * 68]))
    refused(path)


def refused(path) -> None:
    made = []
    whole = plain_pickle.Numbers.array

    def watched(numbers):
        made.append(numbers)
        return whole(numbers)

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ItemError, match="a frame") as caught,
    ):
        patch.setattr(plain_pickle.Numbers, "array", watched)
        read_landmarks(path)
    assert caught.value.reason is Reason.BAD_ANNOTATION
    assert not made


def test_numbers_of_numpy_with_one_axis_are_read(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([[list(row.reshape(2, 1)) for row in points()]]))
    np.testing.assert_array_equal(read_landmarks(path)[0], points())


@pytest.mark.parametrize("word", [b"-", b"~", b"[1,", b"(", b"+1", b"lambda:"])
def test_a_npy_header_that_is_deep_is_refused(tmp_path, word):
    """Python's parser gives up with a MemoryError, or with one of three other errors."""
    header = word * (9000 // len(word)) + b"1\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ItemError) as caught:
        read_landmarks(path)
    assert caught.value.reason is Reason.BAD_ANNOTATION


@pytest.mark.slow
def test_a_hostile_file_of_many_megabytes_takes_less_than_a_gigabyte(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 30_000_000 + b".")
    code = (
        "import re, sys\nfrom pathlib import Path\n"
        "from avsep.errors import ItemError\n"
        "from avsep.faces.landmark_files import read_landmarks\n"
        "try: read_landmarks(Path(sys.argv[1]))\n"
        "except ItemError as error: print(error)\n"
        # Not `ru_maxrss`, which begins with the memory of the process that starts this one.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "more than 6000000 values" in said[0]
    assert int(said[1]) < 1 << 20  # KiB


@pytest.mark.parametrize("what", ["/dev/zero", "/dev/stdin", "folder"])
def test_only_plain_files_are_read(tmp_path, what):
    path = tmp_path / "x.pkl"
    path.symlink_to(tmp_path if what == "folder" else what)
    with pytest.raises(ItemError, match="is not a regular file"):
        read_landmarks(path)


def test_neither_a_pipe_nor_a_large_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    os.mkfifo(path)  # opened as other files are, it would wait for a writer
    with pytest.raises(ItemError, match="is not a regular file"):
        read_landmarks(path)
    path = tmp_path / "y.npy"
    path.write_bytes(b"x" * 1001)
    monkeypatch.setattr(landmark_files, "MAX_BYTES", 1000)
    with pytest.raises(ItemError, match="more than 1000 bytes"):
        read_landmarks(path)
