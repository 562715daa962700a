"""A third family: what a new folder of `avsep/models` and its entry in the registry hold."""

from dataclasses import dataclass

from torch import nn

from avsep.loading.mixtures import ListedMixtures, TrainMixtures
from avsep.models.adapter import ModelAdapter
from avsep.models.export import export
from avsep.models.registry import Family, ModelSpec
from avsep.schema import Cues
from avsep.training.config import ModelTrainConfig
from avsep.training.fit import fit
from avsep.training.losses import negative_snr
from avsep.training.separation_task import SeparationTask

# config.py and the network


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    kernel: int = 17


class Toy(nn.Module):
    """Filters the mixture, and gates it by how bright the lips are."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.filter = nn.Conv1d(1, 1, config.kernel, padding=config.kernel // 2)
        self.gate = nn.Linear(1, 1)

    def estimate(self, mixture, cues):
        bright = cues.lips.float().mean((2, 3))[..., None] / 255
        gates = self.gate(bright).sigmoid()[..., 0].repeat_interleave(640, dim=1)
        return self.filter(mixture[:, None])[:, 0] * gates[:, : mixture.shape[1]]


# train_config.py


@dataclass(frozen=True, kw_only=True)
class ToyTrainConfig(ModelTrainConfig):
    kernel: int = 17


# task.py


class ToyTask(SeparationTask):
    def loss(self, batch):
        return negative_snr(self.estimate(self.model, batch), batch["target"])

    def estimate(self, model, batch):
        return model.estimate(
            batch["mixture"], Cues(lips=batch["lips"], landmarks=None, valid=None)
        )


# train.py


def train_toy(config, run, data, directory):
    model = Toy(ToyConfig(kernel=config.kernel))
    train = TrainMixtures(data.store, data.draw, seed=run.seed, cues=("lips",))
    val = ListedMixtures(data.store, data.val, cues=("lips",))
    task = ToyTask(model, config.fit, seed=run.seed)
    fit(task, train, val, run=run, directory=directory, name="toy")
    export(task, directory, config, family="toy")
    return task


# adapter.py


class ToyAdapter(ModelAdapter):
    def separate(self, mixture, cues, before):
        frames = slice(before, before + -(-mixture.shape[1] // 640))
        lips = self.stacked(cues, "lips", frames)
        return self.model.estimate(mixture, Cues(lips=lips, landmarks=None, valid=None))


# the entry in the registry

TOY = ModelSpec(
    name="toy",
    title="Toy",
    family=Family(name="toy", config=ToyConfig, network=lambda: Toy, adapter=lambda: ToyAdapter),
    train_config=ToyTrainConfig,
    train=lambda: train_toy,
)
