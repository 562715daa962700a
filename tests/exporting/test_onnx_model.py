"""ONNX files give what the models give, on any length, and say what they are."""

import io
import json
import sys

import pytest
import torch
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError, UsageError
from avsep.exporting import onnx_model
from avsep.models import checkpoint
from avsep.models.dolphin.sequence import GlobalNorm
from avsep.models.registry import MODELS
from tests.support.active_dolphin import active_dolphin
from tests.support.vovit_tiny import tiny_model

LENGTHS = (8_000, 16_000, 32_000, 64_000, 50_021)
CUES = {"dolphin": "lips", "vovit-s1": "landmarks", "vovit": "landmarks"}


def make(name):
    if name == "dolphin":
        return active_dolphin()
    return tiny_model(MODELS[name].variant)


def saved(name, folder):
    checkpoint.save(make(name), folder, {"family": MODELS[name].family.name, "licence": "CC0"})
    return folder


def export(folder, out, *words):
    command = ["export-model", "onnx", "--weights", str(folder), "--out", str(out), *words]
    return CliRunner().invoke(app, command)


@pytest.fixture
def packages():
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is missing: pip install onnx onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_what_the_model_gives_and_says_what_it_is(packages, tmp_path, name):
    import onnx
    import onnxruntime

    out = tmp_path / "new" / "model.onnx"
    result = export(saved(name, tmp_path / name), out)
    assert result.exit_code == 0, result.output
    assert "equal to the model within" in result.output
    assert [path.name for path in out.parent.iterdir()] == ["model.onnx"]

    model = checkpoint.load(tmp_path / name)
    whole = MODELS[name].family.traceable()(model)
    session = onnxruntime.InferenceSession(str(out))
    for samples in LENGTHS:
        for batch in (1, 3):
            generator = torch.Generator().manual_seed(samples + batch)
            sound = 0.1 * torch.randn(batch, samples, generator=generator)
            cue = whole.example(batch, samples, generator)
            with torch.no_grad():
                expected = model.estimate(sound, whole.cues(cue))
            (voice,) = session.run(None, {"mixture": sound.numpy(), CUES[name]: cue.numpy()})
            assert voice.shape == (batch, samples)
            off = (torch.from_numpy(voice) - expected).abs().max() / expected.abs().max()
            assert off < 1e-4, (batch, samples)

    written = onnx.load(out)
    onnx.checker.check_model(written)
    facts = {fact.key: fact.value for fact in written.metadata_props}
    assert (facts["model"], facts["sample_rate_hz"]) == (name, "16000")
    assert facts["weights_sha256"] == model.card["sha256"]
    assert facts["licence"] == "CC0"
    assert json.loads(facts["config"]) == model.card["config"]
    shapes = {one.name: one.shape for one in (*session.get_inputs(), *session.get_outputs())}
    cue_shape = ["lips", 96, 96] if name == "dolphin" else ["landmarks", 68, 3]
    assert shapes == {
        "mixture": ["batch", "samples"],
        cue_shape[0]: ["batch", "frames", *cue_shape[1:]],
        "voice": ["batch", "samples"],
    }
    assert {"mixture", "voice", CUES[name]} <= facts.keys()


@pytest.mark.slow
def test_a_norm_over_millions_of_values_loses_no_digits(packages):
    import onnxruntime

    torch.manual_seed(0)
    norm, x = GlobalNorm(256, eps=1e-8).eval(), torch.randn(1, 16_000, 256) + 0.5
    buffer = io.BytesIO()
    torch.onnx.export(norm, (x,), buffer, input_names=["x"], dynamo=False)
    (found,) = onnxruntime.InferenceSession(buffer.getvalue()).run(None, {"x": x.numpy()})
    wanted = (x.double() - x.double().mean()) / x.double().std(correction=0)
    assert float((torch.from_numpy(found) - wanted).abs().max() / wanted.abs().max()) < 2e-5


@pytest.mark.slow
def test_nothing_is_left_of_a_file_that_differs_from_the_model(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "_difference", lambda *_: float("nan"))
    out = tmp_path / "out" / "model.onnx"
    with pytest.raises(CheckError, match=r"was not written: .* gives other voices"):
        onnx_model.export(saved("vovit-s1", tmp_path / "vovit-s1"), out)
    assert list(out.parent.iterdir()) == []


def test_a_file_that_cannot_be_made_is_refused_first(tmp_path):
    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there already"):
        onnx_model.check(there)
    assert there.read_bytes() == b"mine"
    with pytest.raises(UsageError, match=r"must be an .onnx file"):
        onnx_model.check(tmp_path / "model.pt")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckError, match="pip install onnx onnxruntime"):
        onnx_model.check(tmp_path / "model.onnx")


def test_a_model_without_a_mean_face_is_refused(packages, tmp_path):
    model = tiny_model()
    model.mean_face.fill_(torch.nan)
    checkpoint.save(model, tmp_path / "faceless", {"family": "vovit"})
    with pytest.raises(CheckError, match="no mean face"):
        onnx_model.export(tmp_path / "faceless", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_lip_encoder_is_refused(packages, tmp_path):
    checkpoint.save(active_dolphin().lip_encoder, tmp_path / "lips", {"family": "lipcoder"})
    with pytest.raises(CheckError, match="separates nothing by itself"):
        onnx_model.export(tmp_path / "lips", tmp_path / "model.onnx")
