"""Training of VoViT: first the network that masks the mixture, then the enhancer on top of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsep.loading.usable_rows import usable_rows
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.registration import mean_face
from avsep.models.vovit.targets import Loss, stage1_loss, stage2_loss
from avsep.schema import Cues
from avsep.shards.store import ShardStore
from avsep.training.separation_task import SeparationTask
from avsep.training.task import Batch


class VoViTTask(SeparationTask):
    """Training of the last stage that a VoViT has.

    Stage 1 is trained by the bounded, weighted loss of its complex mask; the enhancer by the ratio
    mask of stage 2, on a first stage that is frozen and in eval mode.
    """

    model: VoViT

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the stage that is trained; NaN when an item's loss is not finite."""
        clips = self.model.prepare(batch["mixture"], batch["target"], _cues(batch))
        two_stages = self.model.config.variant == "speech"
        loss: Loss = (stage2_loss if two_stages else stage1_loss)(self.model, clips)
        # The whole step is skipped then, on all ranks together: see `FitTask`.
        return torch.where(loss.finite.all(), loss.value, torch.nan)

    def estimate(self, model: nn.Module, batch: Batch) -> Tensor:
        """(batch, samples)."""
        assert isinstance(model, VoViT)
        return model.estimate(batch["mixture"], _cues(batch))


def _cues(batch: Batch) -> Cues:
    return Cues(lips=None, landmarks=batch["landmarks"], valid=batch["valid"])


def training_mean_face(store: ShardStore, *, max_frames: int = 20_000) -> Tensor:
    """The mean face of the training split, (68, 3) pixels, that landmarks are registered to.

    Takes evenly spaced clips when there are more frames than needed.

    Args:
        store: the samples.
        max_frames: number of landmark frames to average at most.
    """
    rows = usable_rows(store, "train", 1)
    clips = max(1, max_frames // int(store.index.column("num_frames")[rows].max()))
    step = -(-len(rows) // clips)
    landmarks = [store.landmarks(store.index.text("key", int(row))) for row in rows[::step]]
    return mean_face(
        torch.cat([torch.from_numpy(one.points.astype("float32")) for one in landmarks]),
        torch.cat([torch.from_numpy(one.valid.astype("int64")) for one in landmarks]),
    )
