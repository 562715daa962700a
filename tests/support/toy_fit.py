"""A small task with batch norm and dropout: sees a noisy tone and wants the tone.

Run as a script (by `torch.distributed.run`) it fits the task and saves each rank's weights.
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from avsep.processes import follow_parent
from avsep.training.config import FitSettings, RunSettings
from avsep.training.fit import fit
from avsep.training.losses import negative_snr, si_sdr
from avsep.training.process import set_up_process
from avsep.training.ranks import rank_and_ranks
from avsep.training.task import FitTask

SAMPLES = 400


class Tones(Dataset):
    def __init__(self, poisoned=()):
        self.poisoned = set(poisoned)

    def __getitem__(self, number):
        rng = torch.Generator().manual_seed(number)
        phase, pitch = torch.rand(2, generator=rng)
        target = torch.sin(6.283 * (phase + (0.02 + 0.05 * pitch) * torch.arange(SAMPLES)))
        mixture = target + torch.randn(SAMPLES, generator=rng)
        if number in self.poisoned:
            mixture[7] = float("nan")
        return {"item": number, "mixture": mixture.numpy(), "target": target.numpy()}

    def __len__(self):
        return 7  # of the validation list; training items are endless


class Smoother(nn.Module):
    def __init__(self, norm=True):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(1, 8, 33, padding=16),
            nn.BatchNorm1d(8) if norm else nn.Identity(),
            nn.PReLU(),
            nn.Dropout(0.1 if norm else 0.0),
            nn.Conv1d(8, 1, 33, padding=16),
        )

    def forward(self, mixture):
        return self.net(mixture[:, None])[:, 0]


class ToneTask(FitTask):
    monitor = "val_si_sdr"

    def loss(self, batch):
        mixture = batch["mixture"].to(self.model.net[0].weight)
        return negative_snr(self.model(mixture), batch["target"])

    def score(self, model, batch):
        mixture = batch["mixture"].to(model.net[0].weight)
        return {"si_sdr": si_sdr(model(mixture), batch["target"])}


def make_task(*, norm=True, **changes):
    values = {"steps": 12, "val_every": 4, "batch": 4, "lr": 1e-2, "ema": 0.9, **changes}
    torch.manual_seed(1)
    return ToneTask(Smoother(norm), FitSettings(**values), seed=3)


def run(directory, task=None, poisoned=(), **changes):
    """Fit; returns the task."""
    task = task or make_task()
    settings = RunSettings(**{"precision": "fp32", "device": "cpu", **changes})
    fit(task, Tones(poisoned), Tones(), run=settings, directory=directory, name="toy")
    return task


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--poisoned", type=int, nargs="*", default=[])
    parser.add_argument("--parent", type=int, default=0)
    given = parser.parse_args()
    follow_parent(given.parent)
    set_up_process(seed=0, threads=1)
    fitted = run(given.out, poisoned=given.poisoned)
    torch.save(
        {
            "model": fitted.model.state_dict(),
            "average": fitted.average.module.state_dict(),
            "steps": fitted.steps_done,
            "skipped": fitted.skipped,
            "history": fitted.history,
        },
        given.out / f"rank{rank_and_ranks()[0]}.pt",
    )
