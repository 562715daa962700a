import os
from pathlib import Path

import pyarrow as pa
import pytest

from avsep import files
from avsep.errors import CheckError


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "x.json"
    files.write_json(path, {"b": 1, "a": 2})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="half way"), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_json_is_canonical_and_refuses_nan(tmp_path: Path):
    assert files.dump_json({"b": 1, "a": [1.5]}, indent=None) == '{"a": [1.5], "b": 1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path: Path):
    path = tmp_path / "x.json"
    with pytest.raises(CheckError, match=r"x\.json is missing"):
        files.read_json(path)
    path.write_text("{")
    with pytest.raises(CheckError, match=r"x\.json is damaged"):
        files.read_json(path)
    path.write_text("PAR1")
    with pytest.raises(CheckError, match="damaged"):
        files.read_table(path)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path):
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    files.write_table(tmp_path / "1.parquet", table)
    files.write_table(tmp_path / "2.parquet", table)
    first, second = (files.sha256_file(tmp_path / f"{i}.parquet") for i in (1, 2))
    assert first == second
    assert files.read_table(tmp_path / "1.parquet").equals(table)


def test_link_replaces_an_older_file(tmp_path: Path):
    source, target = tmp_path / "a", tmp_path / "out" / "b"
    source.write_text("new")
    files.write_text(target, "old")
    files.link_or_copy(source, target)
    assert target.read_text() == "new"


def test_settings_hash_sees_every_value():
    one = files.settings_hash({"a": 1}, [2])
    assert one == files.settings_hash({"a": 1}, [2])
    assert one != files.settings_hash({"a": 1}, [3])


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "é" * 120 + ".parquet", "a." + "b" * 253])
def test_a_name_that_fits_the_disk_can_be_written_atomically(tmp_path: Path, name: str):
    files.write_text(tmp_path / name, "kept")
    with files.atomic_path(tmp_path / name) as temporary:
        assert temporary.suffix in (Path(name).suffix, ".tmp")
        temporary.write_text("new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {name: "new"}


def test_json_holds_names_that_are_not_utf8_and_texts_with_other_line_breaks(tmp_path: Path):
    values = [os.fsdecode(b"caf\xe9"), "a\u2028b\u2029c\x85d\x0b\x0c\x1ce\r\nf", "\ud800 g"]
    files.write_json(tmp_path / "x.json", values)
    files.write_jsonl(tmp_path / "x.jsonl", values)
    for value in values:
        files.append_jsonl(tmp_path / "journal.jsonl", value)
    assert files.read_json(tmp_path / "x.json") == values
    assert files.read_jsonl(tmp_path / "x.jsonl") == values
    assert files.read_journal(tmp_path / "journal.jsonl") == values
    assert len(files.settings_hash(values)) == 16


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "large"])
def test_a_file_that_may_be_anything_is_read_only_where_it_is_small_and_regular(
    tmp_path: Path, what: str
):
    path = tmp_path / "x"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            path.write_bytes(b"x" * 11)
    sentence = "it has more than 10 bytes" if what == "large" else "it is not a regular file"
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(ValueError, match=sentence):
        files.read_bounded(path, 10)
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    if what == "large":
        assert files.read_bounded(path, 11) == b"x" * 11


def test_a_folder_behind_a_link_is_replaced_where_it_lies(tmp_path: Path):
    there = tmp_path / "other disk" / "shards"
    there.mkdir(parents=True)
    (there / "old").touch()
    link = tmp_path / "shards"
    link.symlink_to(there)
    for name in ("new", "newer"):
        with files.replaced_directory(link) as folder:
            (folder / name).touch()
    assert link.is_symlink()
    assert [path.name for path in there.iterdir()] == ["newer"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other disk", "shards"]
    assert [path.name for path in there.parent.iterdir()] == ["shards"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path: Path, monkeypatch):
    place = tmp_path / "shards"
    place.mkdir()
    (place / "old").touch()
    rename = Path.rename

    def refuse_the_new(self: Path, target: Path):
        if target == place and not (self / "old").exists():
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(OSError, match="Input/output"), files.replaced_directory(place) as folder:
        (folder / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "shards",
        "shards/old",
    ]
