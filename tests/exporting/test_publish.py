"""What goes to the hub: cards with a YAML head, Croissant, nothing that may not be passed on."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError, UsageError
from avsep.exporting.cards import croissant, dataset_card, hub_licence, read_set
from avsep.files import write_json
from avsep.models import checkpoint
from avsep.weights.pretrained import HUB_VARIABLE, from_pretrained
from tests.models.test_checkpoint import CARD, make_model, same_weights
from tests.support.file_server import serving_files
from tests.support.synthetic_workspace import make_workspace

LICENCE = "CC-BY-4.0: GRID, Cooke, Barker, Cunningham and Shao 2006"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    space = make_workspace(tmp_path_factory.mktemp("open"), num_frames=25, licence=LICENCE)
    (space.shards / "card.md").write_text("# Data card\n\n## What is in it\n")
    checkpoint.save(make_model(), space.run("vovit"), CARD)
    write_json(space.evaluation("vovit") / "metrics.json", {"si_snri": 3.5, "both_right": 0.75})
    return space


def head_of(text: str) -> dict:
    start, head, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head)


def publish(workspace, *words):
    return CliRunner().invoke(app, ["publish", *words, "--root", str(workspace.root)])


def test_the_card_of_a_set_has_its_licence_its_splits_and_its_attribution(workspace):
    text = dataset_card(read_set(workspace.shards), "Small GRID")
    head = head_of(text)
    assert head["license"] == "cc-by-4.0"
    assert head["size_categories"] == ["n<1K"]
    files = head["configs"][0]["data_files"]
    assert [one["split"] for one in files] == ["train", "val"]
    for one in files:
        assert list(workspace.shards.glob(one["path"]))
    assert "Cooke, Barker" in text
    assert "## Data card" in text


def test_croissant_names_every_file_with_its_hash(workspace):
    found = read_set(workspace.shards)
    values = croissant(found, "small", "https://example.org/small")
    files = {one["name"]: one for one in values["distribution"]}
    for shard in found.manifest.shards:
        assert files[shard.name]["sha256"] == shard.sha256
    assert files["index.parquet"]["sha256"] == found.manifest.index_sha256
    import pyarrow.parquet as pq

    columns = pq.read_schema(workspace.shards / "index.parquet").names
    for field in values["recordSet"][0]["field"]:
        assert field["source"]["extract"]["column"] in columns
    assert json.loads(json.dumps(values)) == json.loads(json.dumps(values))


def test_croissant_is_valid_for_its_own_validator(workspace):
    mlcroissant = pytest.importorskip("mlcroissant")
    values = croissant(read_set(workspace.shards), "small", "https://example.org/small")
    dataset = mlcroissant.Dataset(jsonld=values)
    assert not dataset.metadata.ctx.issues.errors


def test_a_dry_run_shows_all_and_writes_nothing(workspace, tmp_path):
    out = tmp_path / "out"
    said = publish(workspace, "shards", "me/small-grid", "--dry-run", "--out", str(out))
    assert said.exit_code == 0, said.exception
    for name in ("README.md", "croissant.json", "manifest.json", "license: cc-by-4.0"):
        assert name in said.stdout
    assert not out.exists()


def test_a_prepared_set_is_whole_and_says_how_to_upload_it(workspace, tmp_path):
    out = tmp_path / "out"
    of_set = list(workspace.shards.iterdir())
    (workspace.shards / "notes.txt").write_text("mine")
    said = publish(workspace, "shards", "me/small-grid", "--out", str(out))
    (workspace.shards / "notes.txt").unlink()
    assert not (out / "notes.txt").exists()
    assert f"hf upload --repo-type dataset me/small-grid {out}" in said.stdout
    for path in of_set:
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert json.loads((out / "croissant.json").read_text())["name"] == "small-grid"
    again = publish(workspace, "shards", "me/small-grid", "--out", str(out))
    assert isinstance(again.exception, UsageError)


def test_samples_that_may_not_be_passed_on_are_not_published(tmp_path):
    closed = make_workspace(tmp_path / "closed", num_frames=25)
    said = publish(closed, "shards", "me/closed", "--dry-run")
    assert isinstance(said.exception, CheckError)
    assert "may not be passed on" in str(said.exception)


def test_the_card_of_a_model_has_its_figures_and_the_licences_of_its_data(workspace, tmp_path):
    out = tmp_path / "out"
    said = publish(workspace, "vovit", "me/my-vovit", "--out", str(out))
    assert said.exit_code == 0, said.exception
    head = head_of((out / "README.md").read_text())
    assert head["library_name"] == "avsep"
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert {"type": "si_snri", "value": 3.5} in metrics
    assert {"type": "both_right", "value": 0.75} in metrics
    assert LICENCE in (out / "README.md").read_text()
    assert same_weights(from_pretrained(out), make_model())


@pytest.mark.parametrize("words", [("shards", "noowner"), ("tasnet", "me/x"), ("shards", "/x")])
def test_what_cannot_be_published_is_said(workspace, words):
    said = publish(workspace, *words, "--dry-run")
    assert isinstance(said.exception, UsageError)


def test_a_model_of_the_hub_is_downloaded_once_and_checked(workspace, tmp_path, monkeypatch):
    run = workspace.run("vovit")
    with serving_files() as server:
        monkeypatch.setenv(HUB_VARIABLE, server.base)
        for name in ("card.json", "model.safetensors"):
            server.files[f"me/m/resolve/main/{name}"] = (run / name).read_bytes()
            server.files[f"me/bad/resolve/main/{name}"] = (run / name).read_bytes()
        first = from_pretrained("me/m", store=tmp_path)
        count = len(server.asked)
        again = from_pretrained("me/m", store=tmp_path)
        assert len(server.asked) == count == 2
        assert same_weights(first, again)
        weights = bytearray(server.files["me/bad/resolve/main/model.safetensors"])
        weights[-1] ^= 1
        server.files["me/bad/resolve/main/model.safetensors"] = bytes(weights)
        with pytest.raises(CheckError):
            from_pretrained("me/bad", store=tmp_path)
        with pytest.raises(CheckError, match="404"):
            from_pretrained("me/none", store=tmp_path)
    for name in ("../x", "a/../b", "me/m/x", "me//m", "https://x/y"):
        with pytest.raises(UsageError, match="neither a model folder"):
            from_pretrained(name, store=tmp_path)
    with pytest.raises(UsageError, match="revision"):
        from_pretrained("me/m", revision="../x", store=tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LICENCE, "cc-by-4.0"), ("ODbL-1.0 and DbCL-1.0: CREMA-D", "odbl"), ("private", "other"),
        ("", "other"), ("Apache-2.0", "apache-2.0"), ("CC-BY-NC-4.0", "cc-by-nc-4.0"),
    ],
)  # fmt: skip
def test_licences_have_their_id_of_the_hub(text, found):
    assert hub_licence(text) == found
