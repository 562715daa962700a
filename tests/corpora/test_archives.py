import hashlib
import zipfile
from pathlib import Path

import pytest

from avsep.corpora.archives import (
    Archive,
    find_archives,
    list_members,
    md5_of,
    read_member,
)
from avsep.corpora.checksums import check_archives, read_checksums
from avsep.errors import CheckError, ItemError, Reason, UsageError
from tests.support.miniature import split_archive


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def packed(tmp_path, request):
    """An archive in five parts, and what is in it."""
    files = {f"dev/mp4/{n}.mp4": bytes([n]) * (3000 + n) + hashlib.sha256(bytes([n])).digest() * 90
             for n in range(7)}  # fmt: skip
    files["dev/empty.txt"] = b""
    path = tmp_path / "vox2_dev_mp4.zip"
    with zipfile.ZipFile(path, "w", request.param) as archive:
        archive.mkdir("dev")
        for name, content in files.items():
            archive.writestr(name, content)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    split_archive(path, 5)
    return tmp_path, files, md5


def whole(folder: Path) -> Archive:
    [archive] = find_archives(folder.iterdir())
    return archive


def test_parts_are_read_as_one_file_without_joining_them(packed):
    folder, files, md5 = packed
    archive = whole(folder)
    assert (archive.name, len(archive.parts)) == ("vox2_dev_mp4.zip", 5)
    members = {member.name: member for member in list_members(archive)}
    read = {name: b"".join(read_member(archive, member)) for name, member in members.items()}
    assert read == files
    assert md5_of(archive) == md5
    assert sorted(p.name[-2:] for p in folder.iterdir()) == ["aa", "ab", "ac", "ad", "ae"]


def test_a_missing_part_in_the_middle_is_named_and_one_at_the_end_is_noticed(packed):
    folder, _, _ = packed
    (folder / "vox2_dev_mp4_partae").unlink()
    with pytest.raises(CheckError, match="in 4 parts is not a complete zip file"):
        list(list_members(whole(folder)))
    (folder / "vox2_dev_mp4_partab").unlink()
    with pytest.raises(CheckError, match=r"the part\(s\) ab of vox2_dev_mp4\.zip are missing"):
        whole(folder)


def test_only_a_damaged_member_fails(packed):
    folder, files, _ = packed
    archive = whole(folder)
    members = {member.name: member for member in list_members(archive)}
    part = folder / "vox2_dev_mp4_partaa"
    content = bytearray(part.read_bytes())
    content[members["dev/mp4/0.mp4"].offset + 60] ^= 0xFF
    part.write_bytes(content)
    with pytest.raises(ItemError, match="is damaged") as caught:
        list(read_member(archive, members["dev/mp4/0.mp4"]))
    assert caught.value.reason is Reason.UNREADABLE
    assert b"".join(read_member(archive, members["dev/mp4/6.mp4"])) == files["dev/mp4/6.mp4"]


def test_a_member_longer_than_the_archive_says_is_not_written(packed):
    folder, _, _ = packed
    archive = whole(folder)
    member = next(m for m in list_members(archive) if m.name.endswith("3.mp4"))
    lying = type(member)(**{**vars(member), "size_bytes": 100})
    with pytest.raises(ItemError, match=r"longer than the archive says|checksum is wrong"):
        list(read_member(archive, lying))


def test_checksums_are_compared_once_and_a_wrong_one_is_named(packed, tmp_path, monkeypatch):
    folder, _, md5 = packed
    archive, work = whole(folder), tmp_path / "work"
    check_archives([archive], {archive.name: md5}, None, work)
    monkeypatch.setattr("avsep.corpora.checksums.md5_of", lambda _: pytest.fail("hashed again"))
    check_archives([archive], {archive.name: md5}, None, work)
    with pytest.raises(CheckError, match=f"has the MD5 {md5}, not 0123"):
        check_archives([archive], {archive.name: "0123"}, None, work)
    with pytest.raises(UsageError, match=r"the checksum of vox2_dev_mp4\.zip is not known"):
        check_archives([archive], {}, None, work)


def test_a_file_of_checksums_is_read_as_md5sum_writes_it(tmp_path):
    path = tmp_path / "md5.txt"
    path.write_text(f"{'a' * 32}  ./x/vox2_test_mp4.zip\n{'b' * 32} *y.zip\n\n")
    assert read_checksums(path) == {"vox2_test_mp4.zip": "a" * 32, "y.zip": "b" * 32}
    path.write_text("not a checksum\n")
    with pytest.raises(UsageError, match="line 1"):
        read_checksums(path)
