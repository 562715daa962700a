"""One entry in the registry and one folder make a model that all stages know."""

import dataclasses
import importlib

import numpy as np
import pytest
import torch

from avsep.cli.options import known_model
from avsep.evaluation.config import EvaluateConfig
from avsep.models import checkpoint
from avsep.models.registry import MODELS, model_name
from avsep.reporting.gather import gather_model
from avsep.schema import Cues
from avsep.separation.adapters import adapter_for
from avsep.settings import build
from avsep.weights.store import find
from avsep.workspace import Workspace
from pipeline.plan import plan_project
from pipeline.stages import STAGES
from pipeline.stages.train import config_class
from tests.support.stage_run import run_stage
from tests.support.synthetic_workspace import make_workspace
from tests.support.toy_family import TOY, Toy

SECTION = {
    "precision": "fp32",
    "device": "cpu",
    "toy": {"kernel": 9, "fit": {"steps": 4, "val_every": 2, "batch": 2, "seconds": 1.0}},
}


def launch_here(module, arguments, *, devices, **_):
    """Train in this process: a child would not know the toy."""
    assert importlib.import_module(module).main(arguments) == 0
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(MODELS, TOY.name, TOY)
    # The class of a section is made when its module is imported.
    stage = dataclasses.replace(STAGES["train"], config=config_class(MODELS))
    monkeypatch.setitem(STAGES, "train", stage)
    monkeypatch.setattr("pipeline.execution.training_run.launch", launch_here)


@pytest.mark.slow
def test_a_third_family_is_trained_loaded_evaluated_and_used(registered, tmp_path):
    space = make_workspace(tmp_path)
    config = build(STAGES["train"].config, {**SECTION, "model": "toy"}, "train")
    report = run_stage("train", space, config=config)
    assert report.facts["steps"] == 4

    model = checkpoint.load(space.run("toy"), family="toy")
    assert isinstance(model, Toy)
    assert model.config.kernel == 9
    assert model_name(model.card) == known_model("toy") == find("toy", tmp_path).name == "toy"

    face = Cues(lips=np.zeros((5, 96, 96), np.uint8), landmarks=None, valid=None)
    voices = adapter_for(model)(np.ones(3000, np.float32), [face, face], 0)
    assert voices.shape == (2, 3000)

    settings = EvaluateConfig(
        model="toy", split="val", perceptual=(), cost=False, workers=0, bootstrap_samples=10
    )
    assert run_stage("evaluate", space, config=settings).counts.done == 2
    found = gather_model(space, "toy")
    assert found.title == "Toy"
    assert found.evaluated


def test_a_plan_calls_unknown_what_was_never_measured(registered, tmp_path):
    configs = {name: build(stage.config, {}, name) for name, stage in STAGES.items()}
    found = {
        (cost.stage, cost.model): cost for cost in plan_project(configs, Workspace(tmp_path)).costs
    }
    assert found["train", "toy"].core_s is None
    assert found["evaluate", ""].core_s is None
    assert found["train", "dolphin"].core_s > 0


def test_without_its_entry_nothing_knows_it():
    with pytest.raises(ValueError, match="model is 'toy'"):
        EvaluateConfig(model="toy")
