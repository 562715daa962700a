"""No name in an index or in a list leads an export out of its folder."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import AvsepError, CheckError
from avsep.files import inside, read_jsonl, write_jsonl
from avsep.shards.index import Index, IndexRow, read_index
from avsep.shards.index_table import mapped_form, read_parquet, write_tables
from avsep.shards.manifest import read_manifest, write_manifest
from avsep.shards.store import ShardStore
from avsep.tables import arrow_schema
from tests.support.synthetic_workspace import make_workspace

FORMS = ("folders", "auto-avsr", "av-hubert", "huggingface", "iianet", "muse")
NAMES = ("../../x", "/tmp/x", "..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", "\u2026", "x" * 300)


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path / "project", num_frames=25)


def spoil(directory: Path, column: str, value: str) -> None:
    """Give a set another name in one column of its index, with hashes that match."""
    import pyarrow as pa

    table = read_parquet(directory, arrow_schema(IndexRow))
    values = table[column].to_pylist()
    at = table.column_names.index(column)
    table = table.set_column(at, table.schema.field(column), pa.array([value, *values[1:]]))
    write_tables(directory, table)
    manifest = read_manifest(directory)
    write_manifest(directory, manifest.shards, manifest.storage)


@pytest.mark.parametrize("column", ["speaker", "group", "shard", "key", "clip_id"])
@pytest.mark.parametrize("name", ["../../../../x", "/tmp/x", ""])
def test_an_index_with_a_name_that_leads_elsewhere_is_refused_on_reading(workspace, column, name):
    spoil(workspace.shards, column, name)
    with pytest.raises(CheckError, match="index of shards"):
        [row.key for row in ShardStore(workspace.shards).index]
    with pytest.raises(CheckError, match="index of shards"):
        list(read_index(workspace.shards))
    with pytest.raises(CheckError, match="index of shards"):  # and the table that others read
        list(Index(mapped_form(read_parquet(workspace.shards, arrow_schema(IndexRow)))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("column", ["speaker", "key"])
def test_no_export_writes_outside_of_its_folder(workspace, form, column, tmp_path):
    spoil(workspace.shards, column, "../../../../escaped")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    out = tmp_path / "deep" / "down" / "below" / "out"
    words = ["export", form, "--out", str(out), "--root", str(workspace.root)]
    result = CliRunner().invoke(app, [*words, "--train-mixtures", "2"])
    # The formats that write mixtures meet the name only where one holds its sample.
    assert result.exit_code == 1 or (column == "key" and form in ("iianet", "muse"))
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in after - before if not path.is_relative_to(out)} == set()


@pytest.mark.parametrize("field", ["speaker", "group", "key"])
def test_a_list_with_a_name_that_leads_elsewhere_is_refused(workspace, field, tmp_path):
    path = workspace.mixtures / "val.jsonl"
    rows = read_jsonl(path)
    rows[0]["sources"][0][field] = "../../../../escaped"
    write_jsonl(path, rows)
    out = tmp_path / "deep" / "down" / "below" / "out"
    words = ["export", "muse", "--out", str(out), "--root", str(workspace.root), "--split", "val"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "'../../../../escaped' is not an id" in str(result.exception)
    assert list(tmp_path.rglob("*escaped*")) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_a_path_is_one_plain_name(tmp_path, name):
    if name == "\u2026":
        assert inside(tmp_path, "a", name) == tmp_path / "a" / name
        return
    with pytest.raises(AvsepError, match="cannot be the name of a file"):
        inside(tmp_path, "a", name)
