"""A header of a shard that lies about its member never makes a reader hang or take memory."""

import resource
import tarfile
from pathlib import Path

import pytest

from avsep.shards import tar
from avsep.shards.verify import verify_set
from tests.support.synthetic_workspace import make_workspace


def shard(path: Path, size: bytes = b"00000000001\0", kind: bytes = b"0") -> Path:
    """A shard of one member, with a size and a type as they stand in its header."""
    block = bytearray(tar.header("a.json", 1))
    block[124:136], block[156:157] = size, kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path.write_bytes(bytes(block) + b"x" + bytes(511) + bytes(tarfile.RECORDSIZE))
    return path


def base256(number: int) -> bytes:
    lead, sign = (b"\xff", 1 << 88) if number < 0 else (b"\x80", 0)
    return lead + (number + sign).to_bytes(11, "big")


@pytest.mark.parametrize("size", [-1, -511, -512, -513, -1024, -(1 << 40), 1 << 40, (1 << 87) - 1])
def test_a_size_that_leads_back_or_far_out_ends_with_a_sentence(tmp_path, size):
    with pytest.raises(ValueError, match=r"damaged|cut inside"):
        tar.scan(shard(tmp_path / "x.tar", base256(size)))


@pytest.mark.parametrize("kind", [b"S", b"7", b"1", b"2", b"3", b"5", b"6", b"g", b"x", b"L", b"V"])
def test_only_plain_files_are_members(tmp_path, kind):
    with pytest.raises(ValueError, match=r"is not a member of a sample|damaged"):
        tar.scan(shard(tmp_path / "x.tar", kind=kind))
    assert len(tar.scan(shard(tmp_path / "x.tar"))) == 1
    assert len(tar.scan(shard(tmp_path / "x.tar", kind=b"\0"))) == 1


def test_no_more_is_read_than_the_file_holds(tmp_path):
    path = shard(tmp_path / "x.tar", b"77777777777\0")  # 8 GiB, as the index may say too
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"is cut inside a\.json"):
        tar.read(path, tar.Member("a", "json", 512, 8**11 - 1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19


@pytest.mark.parametrize("size", [-512, -1024])
def test_verify_names_such_a_shard(tmp_path, size):
    shards = make_workspace(tmp_path, num_frames=25).shards
    path = next(shards.glob("*.tar"))
    shard(path, base256(size))
    problems = [problem.message for problem in verify_set(shards) if problem.file == path.name]
    assert any("damaged at the start" in message for message in problems), problems
