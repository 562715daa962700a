"""Released checkpoints become models of this project, or one sentence and nothing."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsep.cli import main
from avsep.errors import CheckError, UsageError
from avsep.files import sha256_file
from avsep.models import checkpoint
from avsep.models.dolphin.released import import_dolphin
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.released import import_vovit, read_mean_face
from avsep.models.vovit.state_dict_adapter import official_enhancer_name, official_stage1_name
from tests.support import vovit_rule
from tests.support.dolphin_rule import (
    GOLDEN,
    relative,
    rule_audio,
    rule_lips,
    rule_state,
    tiny_config,
)
from tests.support.vovit_tiny import tiny_config as tiny_vovit_config

FACE = vovit_rule.GOLDEN / "vovit-mean-face.tsv"


def avsep(monkeypatch, capsys, *arguments):
    """Exit code, what was said, and what was complained about."""
    monkeypatch.setattr(sys, "argv", ["avsep", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def write(state, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def dolphin_state():
    return rule_state("tiny")


@pytest.fixture(scope="module")
def vovit_states():
    network = VoViT(tiny_vovit_config("speech")).network
    return (
        vovit_rule.official_state(network.stage1, official_stage1_name),
        vovit_rule.official_state(network.enhancer, official_enhancer_name),
    )


# --- what comes out


@pytest.mark.slow
@torch.no_grad()
def test_a_dolphin_is_the_official_model_after_the_way_through_the_file(dolphin_state, tmp_path):
    import numpy as np

    source = write(dolphin_state, tmp_path / "model.safetensors")
    out = tmp_path / "new" / "dolphin.safetensors"
    card = import_dolphin(source, out, config=tiny_config())
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "dolphin.json",
        "dolphin.safetensors",
    ]
    assert card == json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_file(out)
    assert card["source"] == [
        {
            "part": "model",
            "name": "model.safetensors",
            "sha256": sha256_file(source),
            "size_bytes": source.stat().st_size,
        }
    ]
    assert "commercial" in card["licence"]
    for path in (out, out.with_suffix(".json")):
        model = checkpoint.load(path, family="dolphin").set_heat("dense")
    golden = np.load(GOLDEN / "tiny_rule_a.npz")["wave"]
    assert relative(model(rule_audio(1, 4000), rule_lips(1, 6, 24)), golden) < 2e-4


@pytest.mark.slow
def test_the_same_source_gives_the_same_bytes(dolphin_state, tmp_path):
    source = write(dolphin_state, tmp_path / "model.pt")
    for name in ("a", "b"):
        import_dolphin(source, tmp_path / f"{name}.safetensors", config=tiny_config())
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_vovit_keeps_its_weights_and_the_mean_face(vovit_states, tmp_path):
    stage1 = write(vovit_states[0], tmp_path / "vovit_speech.pth")
    enhancer = write(vovit_states[1], tmp_path / "refinement.pth")
    out = tmp_path / "vovit.safetensors"
    card = import_vovit(
        stage1, enhancer, out, variant="speech", mean_face=FACE, config=tiny_vovit_config("speech")
    )
    assert [(file["part"], file["name"]) for file in card["source"]] == [
        ("stage1", "vovit_speech.pth"),
        ("enhancer", "refinement.pth"),
    ]
    assert card["mean_face"]["name"] == FACE.name
    assert card["mean_face"]["sha256"] == sha256_file(FACE)
    assert "None stated" in card["licence"]
    model = checkpoint.load(out, family="vovit")
    assert torch.equal(model.mean_face, vovit_rule.mean_face())
    for module, state, official in (
        (model.network.stage1, vovit_states[0], official_stage1_name),
        (model.network.enhancer, vovit_states[1], official_enhancer_name),
    ):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, state[official(name)]), name


def test_without_a_mean_face_the_card_says_so_and_the_model_asks_for_one(vovit_states, tmp_path):
    stage1 = write(vovit_states[0], tmp_path / "s1.safetensors")
    out = tmp_path / "vovit.safetensors"
    card = import_vovit(
        stage1, None, out, variant="speech-s1", config=tiny_vovit_config("speech-s1")
    )
    assert card["mean_face"].startswith("none")
    model = checkpoint.load(out)
    with pytest.raises(ValueError, match="set_mean_face"):
        model(torch.zeros(1, 32_767), torch.zeros(1, 50, 68, 3))


# --- what is refused


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damaged_states(state):
    name = next(name for name, value in state.items() if value.ndim > 1)
    less = {key: value for key, value in state.items() if key != name}
    return {
        "missing": less,
        "unknown": {**state, "more.weight": torch.zeros(1)},
        "wrong shape": {**state, name: torch.zeros(3, 5, 7, 2)},
        "not finite": {**state, name: torch.full_like(state[name], torch.nan)},
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["missing", "unknown", "wrong shape", "not finite"])
def test_other_names_shapes_and_values_leave_nothing(dolphin_state, vovit_states, tmp_path, kind):
    bad_dolphin = write(damaged_states(dolphin_state)[kind], tmp_path / "in" / "d.pt")
    bad_vovit = write(damaged_states(vovit_states[0])[kind], tmp_path / "in" / "v.pt")
    out = tmp_path / "out" / "model.safetensors"
    with pytest.raises(CheckError, match=kind):
        import_dolphin(bad_dolphin, out, config=tiny_config())
    with pytest.raises(CheckError, match=kind):
        import_vovit(
            bad_vovit, None, out, variant="speech-s1", config=tiny_vovit_config("speech-s1")
        )
    assert not out.parent.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_cut_file_is_one_sentence_and_exit_code_1(
    dolphin_state, tmp_path, monkeypatch, capsys, suffix
):
    source = write(dolphin_state, tmp_path / f"model{suffix}")
    cut(source)
    out = tmp_path / "out" / "model.safetensors"
    for family in ("dolphin", "vovit"):
        more = ["--variant", "speech-s1"] if family == "vovit" else []
        code, said, complained = avsep(
            monkeypatch, capsys, "weights", "import", family, source, "--out", out, *more
        )
        assert (code, said) == (1, "")
        assert complained.count("\n") == 1
        assert "cannot be read as weights" in complained
    assert not out.parent.exists()


class Runs:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch, capsys):
    source, harm = tmp_path / "model.pth", tmp_path / "harm"
    torch.save({"weight": Runs(str(harm))}, source)
    out = tmp_path / "out.safetensors"
    code, _, complained = avsep(
        monkeypatch, capsys, "weights", "import", "dolphin", source, "--out", out
    )
    assert code == 1
    assert "never run" in complained
    assert complained.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dolphin", "absent.pt", "--out", "o.safetensors"], 1, "is missing"),
        (["vovit", "a.pt", "--out", "o.safetensors"], 2, "speech-s1"),
        (["vovit", "a", "b", "--variant", "singing", "--out", "o.safetensors"], 2, "no enhancer"),
        (["vovit", "a", "--variant", "opera", "--out", "o.safetensors"], 2, "--variant"),
        (
            ["vovit", "a", "--variant", "singing", "--mean-face", "f", "--out", "o.safetensors"],
            2,
            "leave --mean-face out",
        ),
        (
            ["vovit", "a", "--variant", "speech-s1", "--mean-face", "f", "--out", "o.safetensors"],
            1,
            "mean face",
        ),
    ],
)
def test_bad_use_and_missing_files(tmp_path, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    ended, _, complained = avsep(monkeypatch, capsys, "weights", "import", *arguments)
    assert ended == code
    assert words in complained
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_is_there_is_not_overwritten(dolphin_state, tmp_path):
    source = write(dolphin_state, tmp_path / "model.safetensors")
    before = source.read_bytes()
    with pytest.raises(UsageError, match="there already"):
        import_dolphin(source, source, config=tiny_config())
    (tmp_path / "new.json").write_text("{}")
    with pytest.raises(UsageError, match=r"new\.json is there already"):
        import_dolphin(source, tmp_path / "new.safetensors", config=tiny_config())
    with pytest.raises(UsageError, match=r"must be a \.safetensors"):
        import_dolphin(source, tmp_path / "new.pt", config=tiny_config())
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "new.json"]


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_sentence(dolphin_state, tmp_path):
    source = write(dolphin_state, tmp_path / "model.safetensors")
    with pytest.raises(CheckError, match="cannot be written"):
        import_dolphin(source, source / "in_a_file" / "new.safetensors", config=tiny_config())


@pytest.mark.slow
def test_a_card_that_cannot_be_written_takes_the_weights_with_it(
    dolphin_state, tmp_path, monkeypatch
):
    source = write(dolphin_state, tmp_path / "model.safetensors")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", full_disk)
    with pytest.raises(CheckError, match="the disk is full"):
        import_dolphin(source, tmp_path / "new.safetensors", config=tiny_config())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index\tx\ty\tz\n0\t1\t2\t3\n", "rows 0 to 67"),
        ("index\tx\ty\tz\n" + "".join(f"{i}\t1\t2\n" for i in range(68)), "columns"),
        ("index\tx\ty\tz\n" + "".join(f"{i}\ta\t2\t3\n" for i in range(68)), "numbers"),
        ("index\tx\ty\tz\n" + "".join(f"{i}\tnan\t2\t3\n" for i in range(68)), "finite"),
        ("x" * 70_000, "too large"),
    ],
)
def test_a_bad_table_of_the_mean_face_is_refused(vovit_states, tmp_path, text, words):
    stage1 = write(vovit_states[0], tmp_path / "s1.pt")
    face = tmp_path / "face.tsv"
    face.write_text(text)
    with pytest.raises(CheckError, match=words):
        import_vovit(
            stage1,
            None,
            tmp_path / "out.safetensors",
            variant="speech-s1",
            mean_face=face,
            config=tiny_vovit_config("speech-s1"),
        )
    assert not (tmp_path / "out.safetensors").exists()


def test_a_table_of_the_mean_face_ends_its_lines_as_files_do(tmp_path):
    rows = [f"{i}\t{i}.5\t2\t3" for i in range(68)]
    for end in ("\n", "\r\n"):
        face = tmp_path / "face.tsv"
        face.write_text(end.join(["index\tx\u2028\ty\x0b\tz", *rows, ""]), newline="")
        assert read_mean_face(face)[:, 0].tolist() == [i + 0.5 for i in range(68)]


# --- by the command


@pytest.mark.slow
def test_the_command_imports_a_full_dolphin(tmp_path, monkeypatch, capsys):
    source = write(rule_state("full"), tmp_path / "model.safetensors")
    out = tmp_path / "dolphin.safetensors"
    code, said, complained = avsep(
        monkeypatch, capsys, "weights", "import", "dolphin", source, "--out", out
    )
    assert (code, complained) == (0, "")
    assert "7,000,448 parameters" in said
    assert sum(tensor.numel() for tensor in load_file(out).values()) == 7_036_053
    assert checkpoint.load(out).card["unused_entries"] > 118


def test_the_command_imports_both_stages_of_a_vovit(vovit_states, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(VoViTConfig, "full", tiny_vovit_config)
    sources = [
        write(state, tmp_path / name)
        for state, name in zip(vovit_states, ("vovit_speech.pth", "refine.pth"), strict=True)
    ]
    out = tmp_path / "vovit.safetensors"
    code, said, complained = avsep(
        monkeypatch,
        capsys,
        *("weights", "import", "vovit", *sources, "--mean-face", FACE, "--out", out),
    )
    assert (code, complained) == (0, "")
    assert "parameters, sha256" in said
    model = checkpoint.load(out)
    assert model.config.variant == "speech"
    assert torch.equal(model.mean_face, vovit_rule.mean_face())
