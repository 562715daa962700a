"""Weights by name: listed, fetched from a server on this machine, checked, refused."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator

import pytest

from avsep.cli import main
from avsep.errors import CheckError, UsageError
from avsep.files import read_json, write_json
from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.models.released import described
from avsep.models.vovit.model import VoViT
from avsep.separation.resolve_model import resolve_model
from avsep.weights.store import SOURCES, candidates, find, get, installed
from tests.support.file_server import FileServer, serving_files
from tests.support.vovit_tiny import tiny_config


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


@pytest.mark.slow
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
        *(".sources.lock", "dolphin.json", "dolphin.safetensors", "sources.json"),
    ]


@pytest.mark.slow
def test_what_others_download_meanwhile_stays_recorded(server, tmp_path, importer):
    server.files["model.safetensors"] = b"first"
    other = {"vovit/model": {"url": "http://elsewhere", "sha256": "0" * 64}}

    def arrive(_bytes: int) -> None:
        write_json(tmp_path / SOURCES, other)

    get("dolphin", tmp_path, base=server.base, advance=arrive)
    assert set(read_json(tmp_path / SOURCES)) == {"dolphin/model", "vovit/model"}


def train(root, *, parameters: int) -> None:
    """Put a trained model into a project; its card says how large it is."""
    run = root / "data" / "runs" / "dolphin"
    checkpoint.save(Dolphin(DolphinConfig.demo()), run, {"family": "dolphin"})
    card = read_json(run / checkpoint.CARD)
    write_json(run / checkpoint.CARD, {**card, "parameters": parameters})


@pytest.mark.slow
def test_a_full_model_of_the_project_then_released_weights_then_its_demo_model(
    server, tmp_path, importer
):
    store = tmp_path / "store"
    server.files["model.safetensors"] = b"first"
    get("dolphin", store, base=server.base)
    train(tmp_path, parameters=7_000_448)
    assert [one.kind for one in candidates(None, tmp_path, store)] == ["trained", "released"]
    train(tmp_path, parameters=130_000)
    assert [one.kind for one in candidates(None, tmp_path, store)] == ["released", "trained"]
    assert candidates("vovit", tmp_path, store) == []
    assert find("dolphin", tmp_path, store).kind == "released"  # a name means the store first
    assert find("vovit", tmp_path, store) is None


@pytest.mark.slow
def test_the_choice_is_said_and_weights_are_taken_by_name_or_path(
    server, tmp_path, importer, monkeypatch
):
    monkeypatch.setenv("AVSEP_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    train(tmp_path, parameters=130_000)
    run = tmp_path / "data" / "runs" / "dolphin"
    alone = resolve_model(None, None, tmp_path)
    assert (alone.path, alone.choice) == (run, "")
    assert resolve_model(None, "dolphin", tmp_path).path == run
    with pytest.raises(UsageError, match="avsep weights get vovit"):
        resolve_model(None, "vovit", tmp_path)

    server.files["model.safetensors"] = b"first"
    made = get("dolphin", tmp_path / "store", base=server.base)
    both = resolve_model(None, None, tmp_path)
    assert both.path == made.path
    assert str(made.path) in both.choice
    assert f"--weights takes others: {run}." in both.choice
    named = resolve_model(None, "dolphin", tmp_path)  # fits both
    assert (named.path, named.choice) == (made.path, both.choice)
    for named in (run, str(run), "data/runs/dolphin", run / "card.json"):
        assert resolve_model(None, named, tmp_path).path.resolve() == run
    with pytest.raises(CheckError, match="is the model dolphin, not vovit"):
        resolve_model("vovit", "dolphin", tmp_path)


def test_released_weights_of_another_model_come_before_a_demo_model(tmp_path, monkeypatch):
    monkeypatch.setenv("AVSEP_WEIGHTS", str(tmp_path / "store"))
    train(tmp_path, parameters=130_000)
    small = tiny_config("speech-s1")
    path = tmp_path / "store" / "mine.safetensors"
    checkpoint.save_file(VoViT(small), path, {"family": "vovit"})
    assert resolve_model(None, None, tmp_path).path == path
    assert resolve_model("dolphin", None, tmp_path).path.name == "dolphin"
    assert resolve_model(None, "mine", tmp_path).path == path


def test_a_vovit_without_a_mean_face_is_not_chosen_and_says_what_it_lacks(tmp_path, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.setenv("AVSEP_WEIGHTS", str(store))
    card = {"family": "vovit", "mean_face": "none: give one before use"}
    checkpoint.save_file(VoViT(tiny_config("speech-s1")), store / "faceless.safetensors", card)
    with pytest.raises(CheckError, match="no weights of vovit"):
        resolve_model("vovit-s1", None, tmp_path)
    train(tmp_path, parameters=130_000)
    assert resolve_model(None, None, tmp_path).path.name == "dolphin"
    with pytest.raises(CheckError, match="import it again with --mean-face"):
        resolve_model(None, "faceless", tmp_path)


@pytest.mark.slow
def test_damaged_weights_are_listed_with_what_is_wrong(avsep, tmp_path):
    store = tmp_path / "store"
    for name in ("whole", "cut", "alone", "garbled"):
        path = store / f"{name}.safetensors"
        checkpoint.save_file(Dolphin(DolphinConfig.demo()), path, {"family": "dolphin"})
    (store / "cut.safetensors").write_bytes((store / "cut.safetensors").read_bytes()[:-1])
    (store / "alone.json").unlink()
    (store / "garbled.json").write_text("{")
    code, out, err = avsep("list")
    assert code == 0
    assert "whole" in out
    assert [line.split(": ")[1] for line in err.splitlines()] == ["not usable"] * 3
    for words in (
        "cut.safetensors is damaged",
        "alone.safetensors holds no model",
        "garbled.json is damaged",
    ):
        assert words in err


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("redirected", [False, True])
def test_the_sha256_that_the_hub_states_counts_over_the_first_download(
    server, tmp_path, importer, redirected
):
    store = tmp_path / "store"
    server.files["model.safetensors"] = b"first"
    get("dolphin", store, base=server.base)
    stored = "store/blob" if redirected else "model.safetensors"
    if redirected:  # the hub states the hash, and its storage an ETag of another kind
        server.moved["model.safetensors"] = f"{server.base}/{stored}"
        server.headers[stored] = {"ETag": f'"{"0" * 64}"'}
    server.files[stored] = b"second"
    server.headers["model.safetensors"] = {"X-Linked-ETag": f'"{sha256(b"second")}"'}
    get("dolphin", store, base=server.base)
    known = read_json(store / "sources.json")["dolphin/model"]
    assert known["sha256"] == sha256(b"second")

    server.files[stored] = b"second, cut"
    with pytest.raises(CheckError, match=sha256(b"second")):
        get("dolphin", store, base=server.base)
    assert read_json(store / "sources.json")["dolphin/model"] == known


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        ({"ETag": f'"{"0" * 64}"'}, False),  # of any server: it may be a hash of something else
        ({"ETag": f'"{"0" * 64}"', "X-Repo-Commit": "abc"}, True),
        ({"ETag": f'W/"{"0" * 64}"', "X-Repo-Commit": "abc"}, True),
        ({"ETag": f'"{"0" * 40}"', "X-Repo-Commit": "abc"}, False),  # a small file: a git hash
        ({"X-Linked-Etag": "0" * 64}, True),
        ({"X-Linked-Etag": f'"{"0" * 40}"'}, False),
    ],
)
def test_only_a_tag_that_is_a_sha256_counts(server, tmp_path, importer, headers, counts):
    server.files["model.safetensors"] = b"first"
    server.headers["model.safetensors"] = headers
    if counts:
        with pytest.raises(CheckError, match="is not the expected file"):
            get("dolphin", tmp_path, base=server.base)
        assert list(tmp_path.iterdir()) == []
    else:
        get("dolphin", tmp_path, base=server.base)


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


@pytest.mark.slow
def test_get_with_consent_and_list(avsep, server, importer):
    server.files["model.safetensors"] = b"first"
    code, out, err = avsep("get", "dolphin", "--yes", "--from", server.base)
    assert code == 0, err
    assert "sha256" in out
    code, out, _ = avsep("list")
    assert code == 0
    assert "released" in out
    assert "to fetch" in out
    assert "uses dolphin unless --weights names others" in out


@pytest.mark.slow
def test_imported_weights_go_where_the_list_looks(avsep, importer, tmp_path):
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"first")
    code, out, err = avsep("import", "dolphin", str(source), "--name", "mine")
    assert code == 0, err
    assert "--weights mine" in out
    assert (tmp_path / "store" / "mine.safetensors").is_file()
    _, out, _ = avsep("list")
    assert "mine" in out
    code, _, err = avsep("import", "dolphin", str(source), "--name", "mine")
    assert (code, "is there already" in err) == (2, True)
    code, _, err = avsep("import", "dolphin", str(source), "--name", "../mine")
    assert (code, "cannot name weights" in err) == (2, True)
    code, _, err = avsep("import", "dolphin", str(source), "--name", "a", "--out", "b.safetensors")
    assert (code, "two places" in err) == (2, True)
    assert avsep("import", "dolphin", str(source))[0] == 0
    assert (tmp_path / "store" / "dolphin.safetensors").is_file()


def test_an_unknown_name_is_named(avsep):
    code, _, err = avsep("get", "orca", "--yes")
    assert (code, "orca" in err) == (2, True)
