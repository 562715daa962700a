"""`avsep bench loader`: all forms give the same windows, and each table is complete."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.bench import loader
from avsep.bench.loader_clips import LOOSE, drawn_samples, stored_samples, write_forms
from avsep.cli.app import app
from avsep.shards.store import ShardStore

FORMS = ["compact", "plain", *LOOSE]


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    return write_forms(drawn_samples(3, 30), tmp_path_factory.mktemp("forms"))


def test_forms_hold_the_same_windows(forms):
    assert [form.name for form in forms] == FORMS
    compact, plain, stored, compressed = forms
    window = ("clip-0002-t0", 11)
    wanted = loader._loose_window(stored.folder, window, 15)
    others = [loader._loose_window(compressed.folder, window, 15)] + [
        loader._stored_window(ShardStore(form.folder, cache_bytes=0), window, 15)
        for form in (plain, compact)
    ]
    for audio, lips, (points, valid) in others:
        np.testing.assert_array_equal(audio, wanted[0])
        np.testing.assert_array_equal(points, wanted[2][0])
        np.testing.assert_array_equal(valid, wanted[2][1])
        assert lips.shape == wanted[1].shape == (15, 96, 96)
    np.testing.assert_array_equal(others[1][1], wanted[1])
    assert 0 < np.abs(others[2][1].astype(int) - wanted[1]).mean() < 3


def test_samples_of_a_set_are_repeated_until_there_are_enough(forms):
    found = stored_samples(forms[1].folder, 5, 20)
    assert [one.num_frames for one in found] == [20] * 5
    np.testing.assert_array_equal(found[4].lips, found[1].lips)
    with pytest.raises(ValueError, match="no sample of 31 frames; choose fewer seconds"):
        stored_samples(forms[1].folder, 5, 31)


@pytest.mark.slow
def test_the_command_prints_all_tables():
    short = ["--clips", "4", "--seconds", "1.2", "--window", "0.4"]
    options = [*short, "--items", "8", "--runs", "1", "--workers", "0,1"]
    result = CliRunner().invoke(app, ["bench", "loader", *options, "--json"])
    assert result.exit_code == 0, result.output
    tables = json.loads(result.stdout)
    assert [row["form"] for row in tables["forms"]] == FORMS
    assert tables["forms"][2]["ratio"] == 1
    assert 30 < tables["forms"][0]["psnr_db"] < 60
    assert [row["psnr_db"] for row in tables["forms"][1:]] == [None] * 3
    sizes = [row["bytes_per_frame"] for row in tables["forms"]]
    assert sizes[0] < sizes[3] < sizes[1] * 1.1
    assert [(row["form"], row["augmentation"]) for row in tables["augmentations"]] == [
        (form, name) for form in FORMS[:2] for name in loader.AUGMENTATIONS
    ]
    assert [(row["form"], row["workers"]) for row in tables["workers"]] == [
        (form, count) for form in FORMS[:2] for count in (0, 1)
    ]
    assert all(row["per_cpu_s"] > 0 for rows in tables.values() for row in rows)
    text = loader.as_text(tables)
    assert text.count("| plain") == 1 + 3 + 2


def test_wrong_options_are_one_sentence():
    result = CliRunner().invoke(app, ["bench", "loader", "--seconds", "1", "--window", "2"])
    assert "windows of 2 s do not fit into clips of 1 s" in str(result.exception)
    for wrong in ("", "a", "1,", "-1", "1;2"):
        result = CliRunner().invoke(app, ["bench", "loader", "--workers", wrong])
        assert f"--workers is {wrong!r}; give numbers" in str(result.exception)
