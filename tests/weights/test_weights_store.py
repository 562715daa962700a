"""Weights by name: listed, fetched from a server on this machine, checked, refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from avsep.cli import main
from avsep.errors import CheckError
from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.models.released import described
from avsep.weights.store import find, get, installed
from tests.support.file_server import FileServer, serving_files


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as made:
        yield made


@pytest.fixture
def importer(monkeypatch):
    """A conversion that takes any file: the real one is tested with the models."""

    def convert(_source, out, **_options):
        model = Dolphin(DolphinConfig.demo())
        card = {"family": "dolphin", "licence": "none", "source": [described("model", _source)]}
        return checkpoint.save_file(model, out, card)

    monkeypatch.setattr("avsep.models.dolphin.released.import_dolphin", convert)


def test_downloaded_weights_are_found_and_a_changed_file_is_refused(server, tmp_path, importer):
    store, root = tmp_path / "store", tmp_path / "project"
    server.files["model.safetensors"] = b"first"
    made = get("dolphin", store, base=server.base)
    assert made.path == store / "dolphin.safetensors"
    assert find("dolphin", root, store).path == made.path
    assert [weights.kind for weights in installed(root, store)] == ["released"]
    assert checkpoint.load(made.path).card["source"][0]["sha256"]
    server.files["model.safetensors"] = b"second"
    with pytest.raises(CheckError, match="sha256"):
        get("dolphin", store, base=server.base)
    assert sorted(p.name for p in store.iterdir()) == [
        *("dolphin.json", "dolphin.safetensors", "sources.json"),
    ]


def test_weights_of_the_project_come_before_released_ones(server, tmp_path, importer):
    server.files["model.safetensors"] = b"first"
    get("dolphin", tmp_path / "store", base=server.base)
    run = tmp_path / "data" / "runs" / "dolphin"
    checkpoint.save(Dolphin(DolphinConfig.demo()), run, {"family": "dolphin"})
    assert find("dolphin", tmp_path, tmp_path / "store").kind == "trained"
    assert find("vovit", tmp_path, tmp_path / "store") is None


@pytest.fixture
def avsep(monkeypatch, capsys, tmp_path):
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("AVSEP_WEIGHTS", str(tmp_path / "store"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["avsep", "weights", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_nothing_is_downloaded_without_consent(avsep, server, importer, monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    code, _, err = avsep("get", "dolphin", "--from", server.base)
    assert code == 2
    assert "--yes" in err
    assert "AV-HuBERT" in err  # the terms were shown
    assert server.asked == []


def test_get_with_consent_and_list(avsep, server, importer):
    server.files["model.safetensors"] = b"first"
    code, out, err = avsep("get", "dolphin", "--yes", "--from", server.base)
    assert code == 0, err
    assert "sha256" in out
    code, out, _ = avsep("list")
    assert code == 0
    assert "released" in out
    assert "to fetch" in out


def test_an_unknown_name_is_named(avsep):
    code, _, err = avsep("get", "orca", "--yes")
    assert (code, "orca" in err) == (2, True)
