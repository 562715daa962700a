"""The filters of Dolphin's heat layers follow the diffusivities that a training moves."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from avsep.models.dolphin import blur
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.models.dolphin.task import DolphinTask
from avsep.settings import with_overrides
from avsep.training.config import FitSettings, RunSettings
from avsep.training.fit import fit
from tests.support.tiny_models import DOLPHIN

FRAMES = 12


class Noise(Dataset):
    def __getitem__(self, number):
        rng = np.random.default_rng(number)
        mixture = rng.standard_normal(FRAMES * 640).astype(np.float32)
        lips = rng.integers(0, 256, (FRAMES, 96, 96), dtype=np.uint8)
        values = {"mixture": mixture, "target": mixture / 2, "other": mixture / 2, "lips": lips}
        return {"item": number, **values}

    def __len__(self):
        return 2


def heat_layers(model):
    return [m for name, m in model.named_modules() if isinstance(m, HeatDiffusion)]


class Pulled(DolphinTask):
    """Diffusivities are pulled to a value; each step compares the default with the FFT."""

    def __init__(self, model, settings, goal):
        super().__init__(model, settings, seed=1)
        self.goal, self.stale, self.differences = goal, 0, []

    def loss(self, batch):
        self.compare(self.model, batch)
        trained = [layer.k for layer in heat_layers(self.model) if layer.k.requires_grad]
        pull = sum((k - self.goal).square().sum() for k in trained)
        return 0 * super().loss(batch) + pull  # the other weights stay

    def score(self, model, batch):
        self.compare(model, batch)
        return super().score(model, batch)

    @torch.no_grad()
    def compare(self, model, batch):
        mode = model.training
        model.eval()
        self.stale += sum(m._radius != blur.filter_radius(m.k) for m in heat_layers(model))
        inputs = batch["mixture"], prepare_lips(batch["lips"], 88)
        default, exact = model(*inputs), model.set_heat("fft")(*inputs)
        model.set_heat("auto").train(mode)
        self.differences.append(float((default - exact).norm() / exact.norm()))


def make_task(goal, **changes):
    torch.manual_seed(0)
    model = Dolphin(with_overrides(DolphinConfig.demo(), DOLPHIN, "test")).freeze_lip_encoder()
    values = {"steps": 6, "val_every": 3, "batch": 1, "lr": 1.0, "schedule": "constant"}
    return Pulled(model, FitSettings(**values | {"clip": 0.0, "ema": 0.5} | changes), goal)


def run(directory, task):
    settings = RunSettings(precision="fp32", device="cpu")
    fit(task, Noise(), Noise(), run=settings, directory=directory, name="heat")
    return task


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "lr", "goal"), [("adam", 1.0, 5.0), ("adam", 0.4, -0.3), ("sgd", 0.2, -0.3)]
)
def test_the_filter_follows_the_optimiser_of_the_product(tmp_path, optimizer, lr, goal):
    task = run(tmp_path, make_task(goal, optimizer=optimizer, lr=lr))
    trained = [layer.k for layer in heat_layers(task.model) if layer.k.requires_grad]
    for k in trained:
        assert (k > 3).all() if goal > 0 else (k < 0).all()
    assert len(task.differences) == 6 + 2 * 2
    assert task.stale == 0
    assert all(difference < 5e-3 for difference in task.differences)


@pytest.mark.slow
def test_a_resumed_training_has_the_filters_of_an_unbroken_one(tmp_path):
    unbroken = run(tmp_path / "unbroken", make_task(5.0))
    run(tmp_path / "broken", make_task(5.0, steps=3))
    resumed = run(tmp_path / "broken", make_task(5.0))
    assert len(resumed.differences) == 3 + 2
    assert resumed.stale == 0
    for ours, theirs in zip(
        resumed.model.state_dict().values(), unbroken.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    radii = [[m._radius for m in heat_layers(t.model)] for t in (resumed, unbroken)]
    assert radii[0] == radii[1]


def test_all_layers_are_planned_with_one_wait_for_the_device(monkeypatch):
    model = make_task(1.0).model
    waits = []
    true = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: waits.append(t) or true(t))
    monkeypatch.setattr(torch.Tensor, "item", lambda t: waits.append(t))
    model.plan_heat()
    assert len(waits) == 1
