import math
import pickle
from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from avsep.errors import CheckError
from avsep.files import write_table
from avsep.schema import Clip, RawClip
from avsep.tables import arrow_schema, open_rows, read_rows, write_rows


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    count: int
    share: float = 0.5
    good: bool = True
    note: str | None = None
    starts: tuple[int, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)


def raw_clip(number: int = 0, **changes) -> RawClip:
    values = {
        "clip_id": f"demo-s01-{number:03d}",
        "corpus": "demo",
        "speaker": "demo-s01",
        "group": "demo-v1",
        "gender": "f",
        "split": "train",
        "path": f"s01/{number:03d}.mp4",
        "sha256": "0" * 64,
        "size_bytes": 12,
    }
    return RawClip(**(values | changes))


def test_rows_come_back_as_they_were(tmp_path):
    rows = [
        Row(name="a", count=1),
        Row(name="é", count=-(2**60), share=1e-300, good=False, note="x", starts=(3, 1)),
        Row(name="", count=0, quality={"b": 2.0, "a": 1.0}),
    ]
    write_rows(tmp_path / "t.parquet", rows)
    assert read_rows(tmp_path / "t.parquet", Row) == rows


def test_clips_come_back_with_their_unknown_scores(tmp_path):
    clip = Clip(**vars(raw_clip()), kept=True)
    write_rows(tmp_path / "t.parquet", [clip])
    (back,) = read_rows(tmp_path / "t.parquet", Clip)
    assert math.isnan(back.snr_db)
    assert back.speaker == clip.speaker


def test_same_rows_give_same_bytes(tmp_path):
    one, two = {"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}
    for name, quality in (("x", one), ("y", two)):
        write_rows(tmp_path / name, [Row(name="n", count=i, quality=quality) for i in range(99)])
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_half_of_a_surrogate_pair_is_escaped_everywhere(tmp_path):
    # JSON can spell it, e.g. in the transcript of a video.
    row = Row(name="a\ud83d", count=1, note="fine", quality={"b\udc80": 0.5})
    write_rows(tmp_path / "rows.parquet", [row, Row(name="é", count=2)])
    first, second = read_rows(tmp_path / "rows.parquet", Row)
    assert (first.name, first.note, first.quality) == ("a\\ud83d", "fine", {"b\\udc80": 0.5})
    assert second.name == "é"


def test_empty_table_keeps_its_columns(tmp_path):
    write_rows(tmp_path / "t.parquet", [], Row)
    assert read_rows(tmp_path / "t.parquet", Row) == []
    with pytest.raises(CheckError, match="not a table of RawClip"):
        read_rows(tmp_path / "t.parquet", RawClip)
    with pytest.raises(ValueError, match="pass cls"):
        write_rows(tmp_path / "t.parquet", [])


def test_rows_of_another_class_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a RawClip, not Row"):
        write_rows(tmp_path / "t.parquet", [Row(name="a", count=1), raw_clip()])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckError, match=r"nothere\.parquet is missing"):
        read_rows(tmp_path / "nothere.parquet", Row)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "text"])
def test_damaged_table_is_a_check_error(tmp_path, damage):
    path = tmp_path / "t.parquet"
    write_rows(path, [Row(name=f"name {i}", count=i) for i in range(500)])
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "noise":
        content[4:400] = bytes(range(256))[:198] * 2
    elif damage == "empty":
        content.clear()
    else:
        content[:] = b"clip_id,speaker\n"
    path.write_bytes(content)
    with pytest.raises(CheckError, match=r"t\.parquet"):
        read_rows(path, Row)


def test_other_type_of_a_column_is_named(tmp_path):
    import pyarrow as pa

    path = tmp_path / "t.parquet"
    write_rows(path, [Row(name="a", count=1)])
    table = pa.Table.from_pylist(
        [{"name": "a", "count": "1", "share": 0.5, "good": True, "note": None, "colour": 1}]
    )
    write_table(path, table)
    with pytest.raises(CheckError) as caught:
        read_rows(path, Row)
    for part in ("lacks starts, quality", "unknown column(s) colour", "count is string, not int64"):
        assert part in str(caught.value)


def test_row_that_the_class_refuses_is_a_check_error(tmp_path):
    path = tmp_path / "t.parquet"
    good = raw_clip()
    object.__setattr__(good, "split", "exam")
    write_rows(path, [good])
    with pytest.raises(CheckError, match="split of demo-s01-000 is 'exam'"):
        read_rows(path, RawClip)


def test_field_without_a_column_type_is_refused():
    @dataclass(frozen=True)
    class Odd:
        value: complex

    with pytest.raises(ValueError, match=r"Odd\.value"):
        arrow_schema(Odd)


@pytest.mark.slow
def test_opened_rows_are_those_that_were_written(tmp_path):
    rows = [Row(name=f"n{i}", count=i, quality={"q": i / 2}) for i in range(25_000)]
    write_rows(tmp_path / "t.parquet", rows)
    opened = open_rows(tmp_path / "t.parquet", Row)
    assert len(opened) == 25_000
    assert list(opened) == rows
    assert [opened[0], opened[-1], opened[12_345]] == [rows[0], rows[-1], rows[12_345]]
    assert list(opened[9_990:10_010]) == rows[9_990:10_010]
    assert list(opened[::-5000]) == rows[::-5000]
    assert list(opened.take([7, 3])) == [rows[7], rows[3]]
    assert list(opened.tuples("count", "name")) == [(row.count, row.name) for row in rows]
    with pytest.raises(IndexError):
        opened[25_000]
    changed = opened[:2].changed(count=pa.array([5, 6]))
    assert [row.count for row in changed] == [5, 6]


@pytest.mark.slow
def test_a_part_is_pickled_alone(tmp_path):
    write_rows(tmp_path / "t.parquet", [Row(name=f"n{i:05d}", count=i) for i in range(20_000)])
    opened = open_rows(tmp_path / "t.parquet", Row)
    part = opened[10_000:10_010]
    assert len(pickle.dumps(part)) < len(pickle.dumps(opened)) / 20
    assert list(pickle.loads(pickle.dumps(part))) == list(part)
