"""Files that were damaged at random end with an error that the reader promises, and no other.

`AVSEP_FUZZ` is the number of inputs per reader; `make test-faults` asks for many.
"""

import contextlib
import os
import random

import numpy as np
import pytest
import yaml

from avsep.cleaning.journal import read_checks
from avsep.corpora.annotation_file import parse_annotation
from avsep.corpora.archives import find_archives, list_members, read_member
from avsep.corpora.speaker_list import read_speaker_list
from avsep.errors import AvsepError, ItemError
from avsep.expression import Expression
from avsep.faces.landmark_files import read_landmarks
from avsep.files import read_json, read_jsonl, read_table
from avsep.mixing.external_lists import read_external_list
from avsep.mixing.recipes import read_recipes
from avsep.schema import RawClip
from avsep.shards import tar
from avsep.shards.codecs import decode_member
from avsep.shards.index import read_index
from avsep.shards.manifest import read_manifest
from avsep.shards.verify import verify_set
from avsep.tables import read_rows
from pipeline.config import load_configs
from tests.support.seed_files import seed_files

INPUTS = int(os.environ.get("AVSEP_FUZZ", "12"))
# What a kill may have cut short is skipped, and `verify_set` returns what is wrong.
TAKES_ALL = ("journal.jsonl", "shards/train-000000.tar")
SAID = (AvsepError, ItemError, ValueError)


def in_archive(path):
    for archive in find_archives([path]):
        for member in list_members(archive):
            for _ in read_member(archive, member):
                pass


def in_shard(path):
    for member in tar.scan(path):
        decode_member(member.suffix, tar.read(path, member))


READERS = {
    "params.yaml": load_configs,
    "speakers.csv": lambda path: read_speaker_list(path.parent, path.name, [".mp4"]),
    "list.scp": read_external_list,
    "list.csv": read_external_list,
    "annotation.txt": lambda path: parse_annotation(path.read_bytes(), path.name),
    "expression.txt": lambda path: Expression(path.read_bytes().decode("utf-8", "replace")),
    "landmarks.pkl": read_landmarks,
    "landmarks.npy": read_landmarks,
    "journal.jsonl": read_checks,
    "recipes.jsonl": read_recipes,
    "rows.jsonl": read_jsonl,
    "value.json": read_json,
    "raw.parquet": lambda path: read_rows(path, RawClip),
    "any.parquet": read_table,
    "archive.zip": in_archive,
    "train-000000.tar": in_shard,
    "shards/manifest.json": lambda path: read_manifest(path.parent),
    "shards/index.parquet": read_table,
    "shards/index.arrow": lambda path: list(read_index(path.parent)),
    "shards/train-000000.tar": lambda path: verify_set(path.parent),
}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return seed_files(tmp_path_factory.mktemp("seeds"))


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file with some bytes changed, cut out, doubled, or put in from a list of nasty ones."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(6):
            case 0 | 1 if made:
                made[min(at, len(made) - 1)] = rng.randrange(256)
            case 2:
                del made[at : at + rng.randint(1, 64)]
            case 3:
                made[at:at] = made[at : at + rng.randint(1, 64)]
            case 4:
                nasty = [b"nan", b"1e400", b"-1", b"\xff" * 8, b"[" * 2000, b"9" * 5000, b"\x00"]
                nasty += [b"\xe2\x80\xa8", b"../../x", b'"', b"null", b"2026-99-99", b"!!bool x"]
                made[at:at] = rng.choice(nasty)
            case _:
                del made[at:]
    return bytes(made)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_words(seeds, name):
    path = seeds / name
    whole = path.read_bytes()
    READERS[name](path)
    rng, refused = random.Random(name), 0
    try:
        for _ in range(INPUTS):
            content = damaged(whole, rng)
            path.write_bytes(content)
            try:
                READERS[name](path)
            except SAID:
                refused += 1
            except BaseException:
                (path.parent / "found").write_bytes(content)
                raise
    finally:
        path.write_bytes(whole)
    assert refused or name in TAKES_ALL


def test_the_damage_reaches_what_it_should():
    """Of each kind; else the test above would pass on files that are never changed."""
    whole = bytes(range(256)) * 4
    made = [damaged(whole, random.Random(seed)) for seed in range(200)]
    assert sum(one == whole for one in made) < 5
    assert min(map(len, made)) < len(whole) < max(map(len, made))
    with contextlib.suppress(yaml.YAMLError):
        yaml.safe_load(np.random.default_rng(0).bytes(10))
