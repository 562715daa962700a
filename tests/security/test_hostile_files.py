"""Files of others end with a sentence: nothing is reserved that is not there, or read for ever."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from avsep.corpora.source_files import read_bytes, read_list
from avsep.errors import CheckError, ItemError, UsageError
from avsep.files import expand_home, read_journal, read_json, read_jsonl
from avsep.npy import read_npy
from avsep.shards.codecs import decode_member
from avsep.shards.manifest import read_manifest
from tests.support.synthetic_workspace import make_workspace

DEEP = "[" * 200_000 + "]" * 200_000
HUGE = "9" * 10_000


def npy(shape: str, kind: str = "|u1", content: bytes = b"") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    "content",
    [
        npy("(1000000000000, 96, 96)"),
        npy("(-1, -1)", content=b"x"),
        npy("(1,)", "|O", b"12345678"),
        npy("()", "|V0"),
        npy("(2,)", content=b"x"),
        npy("(" * 300 + ")" * 300),
        npy("'"),
        npy("(1,)")[:-1].replace(b"NUMPY\x01", b"NUMPY\x09"),
        b"\x93NUMPY",
        b"",
    ],
    ids=range(10),
)
def test_an_array_is_as_large_as_its_file_or_is_refused(content):
    with pytest.raises(ValueError, match=r"."):
        read_npy(content)
    with pytest.raises(ValueError, match=r"."):
        decode_member("lips.npy", content)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("pts", "valid", "score", "bbox", "M", "crop_xy"):
            file.writestr(f"{name}.npy", content)
    with pytest.raises(ValueError, match=r"."):
        decode_member("lmk.npz", archive.getvalue())


@pytest.mark.slow
def test_a_bomb_of_landmarks_is_refused_before_it_is_unpacked(monkeypatch):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pts.npy", bytes(300 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(ValueError, match="unpack to more than"):
        decode_member("lmk.npz", archive.getvalue())


def test_an_encrypted_or_odd_zip_is_damaged_landmarks():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pts.npy", npy("(1,)", content=b"x"))
    whole = archive.getvalue()
    for offset, value in ((6, 1), (8, 99), (8, 14), (18, 255)):
        content = bytearray(whole)
        content[offset] = value
        content[whole.index(b"PK\x01\x02") + offset + 2] = value
        with pytest.raises(ValueError, match=r"."):
            decode_member("lmk.npz", bytes(content))


def test_a_flac_that_says_it_lasts_for_weeks_is_refused():
    from avsep.media.pcm import encode_flac

    content = bytearray(encode_flac(np.zeros(16_000, np.int16)))
    content[21:26] = bytes([content[21] | 0x0F, 255, 255, 255, 255])  # 2 ** 36 - 1 samples
    with pytest.raises(ValueError, match="samples, more than"):
        decode_member("flac", bytes(content))


@pytest.mark.parametrize("text", [DEEP, HUGE, '{"a":' * 100_000, "\udcff", "[1,", ""])
def test_json_that_is_deep_or_huge_is_a_damaged_file(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckError, match="is damaged"):
        read_json(path)
    if text:
        with pytest.raises(CheckError, match="is damaged"):
            read_jsonl(path)
    assert read_journal(path) == []
    with pytest.raises(ValueError, match=r"."):
        decode_member("json", path.read_bytes())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("tools", value) for value in ([1], "x", 3, None)),
        *(("shards", value) for value in ({}, [[]], ["x"], [{}], None, 3, [None])),
        *(("index", value) for value in ([], "x", None, {})),
        ("index", {"name": "index.parquet", "sha256": 10**400}),
        ("mapped_index", {"name": "index.arrow", "sha256": [1]}),
        ("tools", {"numpy": None}),
        ("storage", []),
        ("storage", {}),
        ("version", []),
        ("totals", None),
        ("settings", []),
    ],
)
def test_a_manifest_with_values_of_other_kinds_is_damaged(tmp_path, name, value):
    from avsep.shards.manifest import _checksum

    shards = make_workspace(tmp_path, num_frames=25).shards
    path = shards / "manifest.json"
    content = json.loads(path.read_text("utf-8")) | {name: value}
    del content["checksum"]
    path.write_text(json.dumps(content | {"checksum": _checksum(content)}))
    with pytest.raises(CheckError, match=r"manifest\.json"):
        read_manifest(shards)


@pytest.mark.parametrize("what", ["/dev/zero", "fifo", "folder", "large"])
def test_annotations_and_lists_are_regular_files_of_limited_size(tmp_path, what):
    path = tmp_path / "x.txt"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(b"x" * 1001)
        case _:
            path.symlink_to(what)
    with pytest.raises(ItemError):
        read_bytes(path, 1000)
    with pytest.raises(UsageError):
        read_list(path, 1000)


def test_a_home_that_is_not_there_stays_a_path():
    assert expand_home("~nosuchuser/x") == Path("~nosuchuser/x")
    assert expand_home("~/x") == Path.home() / "x"
