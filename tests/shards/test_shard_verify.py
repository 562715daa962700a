"""`verify_set` names the file for every kind of damage."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace
from itertools import chain

import pytest

from avsep.files import sha256_file
from avsep.shards import tar
from avsep.shards.index import INDEX_NAME, read_index, rows_of_shard, write_index
from avsep.shards.manifest import MANIFEST_NAME, read_manifest, write_manifest
from avsep.shards.verify import verify_set
from avsep.shards.writer import write_shard

SHARD = "train-000000.tar"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_set):
    directory = tmp_path_factory.mktemp("whole")
    make_set(directory, "compact")
    return directory


@pytest.fixture
def damaged(tmp_path, whole):
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "set")


def told(directory, *, deep=False) -> dict[str, str]:
    """What is told of each file, all sentences as one text."""
    problems = verify_set(directory, deep=deep)
    return {p.file: " ".join(q.message for q in problems if q.file == p.file) for p in problems}


def members_of(path) -> list[tuple[str, bytes]]:
    return [(f"{m.key}.{m.suffix}", tar.read(path, m)) for m in tar.scan(path)]


def resign(directory) -> None:
    """Make the manifest agree with the files, as if the set had been written like this."""
    manifest = read_manifest(directory)
    shards = [
        replace(s, size_bytes=path.stat().st_size, sha256=sha256_file(path))
        for s in manifest.shards
        for path in [directory / s.name]
    ]
    write_manifest(directory, shards, manifest.storage)


@pytest.mark.parametrize("storage", ["compact", "plain"])
def test_a_whole_set_has_no_problems(tmp_path, make_set, storage):
    make_set(tmp_path, storage)
    assert verify_set(tmp_path) == []
    assert verify_set(tmp_path, deep=True) == []


def test_a_flipped_byte_anywhere_is_named(damaged):
    original = (damaged / SHARD).read_bytes()
    members = tar.scan(damaged / SHARD)
    # in a header, in a JSON, in a video, in the padding, in the end mark
    places = [3, members[1].offset + 5, members[2].offset + 900, members[0].offset - 1]
    for place in [*places, len(original) - 1]:
        content = bytearray(original)
        content[place] ^= 0x40
        (damaged / SHARD).write_bytes(content)
        assert list(told(damaged)) == [SHARD], place


def test_a_cut_tar_is_named_also_at_the_border_of_a_member(damaged):
    original = (damaged / SHARD).read_bytes()
    border = tar.scan(damaged / SHARD)[2].offset - 512
    for length in (len(original) // 2, border, len(original) - 1):
        (damaged / SHARD).write_bytes(original[:length])
        found = told(damaged)
        assert list(found) == [SHARD]
        assert f"has {length} bytes" in found[SHARD]
    (damaged / SHARD).write_bytes(original[:border])
    assert "is cut after clip-00-t0.json" in told(damaged)[SHARD]


def test_half_a_sample_is_named_even_when_the_manifest_agrees(damaged):
    tar.write(damaged / SHARD, members_of(damaged / SHARD)[:-2])
    resign(damaged)
    assert "sample clip-01-t0 lacks the member(s) lips.mp4, lmk.npz" in told(damaged)[SHARD]


def test_a_missing_shard_is_named(damaged):
    (damaged / SHARD).unlink()
    assert told(damaged) == {SHARD: "is missing."}


@pytest.mark.parametrize("name", ["train-000002.tar", "notes.txt", ".hidden"])
def test_an_extra_file_is_named(damaged, name):
    (damaged / name).write_bytes(b"x")
    assert told(damaged) == {name: "is not in the manifest."}


def test_an_extra_member_is_named(damaged):
    with tarfile.open(damaged / SHARD, "a", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("clip-01-t0.pickle")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    found = told(damaged)
    assert list(found) == [SHARD]
    assert "clip-01-t0 has the unknown member(s) pickle" in found[SHARD]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": "other"}'])
def test_a_damaged_manifest_is_named(damaged, damage):
    (damaged / MANIFEST_NAME).write_bytes(damage)
    assert list(told(damaged)) == [MANIFEST_NAME]


def test_a_missing_manifest_is_named(damaged):
    (damaged / MANIFEST_NAME).unlink()
    assert "is missing" in told(damaged)[MANIFEST_NAME]


@pytest.mark.parametrize(
    ("old", "new"), [('"num_samples": 2', '"num_samples": 3'), ('"numpy": "2"', '"numpy": "3"')]
)
def test_a_manifest_changed_by_hand_is_named(damaged, old, new):
    text = (damaged / MANIFEST_NAME).read_text("utf-8")
    assert old in text
    (damaged / MANIFEST_NAME).write_text(text.replace(old, new), "utf-8")
    assert "checksum" in told(damaged)[MANIFEST_NAME]


def test_a_manifest_cannot_lead_out_of_its_folder(damaged):
    manifest = read_manifest(damaged)
    shards = [replace(manifest.shards[0], name="../other.tar"), manifest.shards[1]]
    write_manifest(damaged, shards, "compact")
    assert "shard name '../other.tar'" in told(damaged)[MANIFEST_NAME]


def test_wrong_counts_are_named(damaged):
    manifest = read_manifest(damaged)
    first = replace(manifest.shards[0], num_samples=3, num_frames=1)
    write_manifest(damaged, [first, manifest.shards[1]], "compact")
    found = told(damaged)
    assert list(found) == [SHARD]
    assert "has 2 samples, not the 3" in found[SHARD]
    assert "has 13 frames, not the 1" in found[SHARD]


@pytest.mark.parametrize(
    ("change", "file", "sentence"),
    [
        (lambda rows: rows[1:], SHARD, "sample clip-00-t0 is not in index.parquet"),
        (lambda rows: [*rows, rows[0]], INDEX_NAME, "has 2 rows for clip-00-t0"),
        (lambda rows: [replace(rows[0], speaker="x"), *rows[1:]], SHARD, "clip-00-t0 differs"),
        (lambda rows: [*rows, replace(rows[0], key="a-t0")], SHARD, "sample a-t0 of index.parquet"),
        (lambda rows: [*rows, replace(rows[0], shard="b.tar")], INDEX_NAME, "unknown shard b.tar"),
    ],
)
def test_an_index_that_disagrees_is_named(damaged, change, file, sentence):
    write_index(damaged, change(read_index(damaged)))
    resign(damaged)
    assert sentence in told(damaged)[file]


def test_a_damaged_index_is_named(damaged):
    content = bytearray((damaged / INDEX_NAME).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / INDEX_NAME).write_bytes(content)
    assert list(told(damaged)) == [INDEX_NAME]
    (damaged / INDEX_NAME).unlink()
    assert "is missing" in told(damaged)[INDEX_NAME]


def test_deep_finds_what_was_wrong_when_it_was_written(damaged):
    names = dict(members_of(damaged / SHARD))
    meta = json.loads(names["clip-00-t0.json"])
    names["clip-00-t0.flac"] = names["clip-01-t0.flac"]
    samples = [
        (key, {s: names[f"{key}.{s}"] for s in ("flac", "json", "lips.mp4", "lmk.npz")}, frames)
        for key, frames in (("clip-00-t0", meta["num_frames"]), ("clip-01-t0", 7))
    ]
    write_shard(damaged / SHARD, samples, "compact")
    write_index(damaged, chain.from_iterable(map(rows_of_shard, sorted(damaged.glob("*.tar")))))
    resign(damaged)
    assert told(damaged) == {}
    assert "4480 samples of sound for 6 frames" in told(damaged, deep=True)[SHARD]
