"""Train each family for some steps, in float64 and without chance, and keep what each step lost.

In float32 rounding grows to 1e-3 within some steps, which would hide a small fault.
"""

import argparse
import csv
import json
from pathlib import Path

from avsep.large_imports import large_imports

with large_imports():
    import torch

    import avsep.training.fit as fitting
    import avsep.training.loaders as loaders
    from avsep.loading.mixtures import Mixtures, collate
    from avsep.models.dolphin.pretrain import pretrain_lipcoder
    from avsep.models.dolphin.train import train_dolphin
    from avsep.models.dolphin.train_config import DolphinTrainConfig, LipCoderTrainConfig
    from avsep.models.vovit.train import train_enhancer, train_stage1
    from avsep.models.vovit.train_config import EnhancerTrainConfig, VoViTTrainConfig
    from avsep.processes import follow_parent
    from avsep.training.config import STEP_LOG, VERSION, FitSettings, RunSettings
    from avsep.training.process import set_up_process
    from tests.support.synthetic_store import SyntheticStore

STEPS = 20
GOLDEN = Path(__file__).parents[1] / "golden"
LIP = {
    "shrink": 8, "layers": ["compress_space"], "first_channels": 2, "first_kernel": [3, 3, 3],
    "quantiser": {"codes": 8, "code_size": 4, "temperature": 0.0},
}  # fmt: skip
DOLPHIN = {
    "lip": LIP, "audio_channels": 128, "kernel": 64, "stride": 32, "channels": 8, "stages": 2,
    "heads": 2, "local_kernel": 5, "video_channels": 4, "dropout": 0.0, "video_dropout": 0.0,
}  # fmt: skip
VOVIT = {
    "graph": {"channels": [4]},
    "audio_encoder": {"channels": 2, "out_channels": 1, "convs": [[1, 7, 1, 1]]},
    "fusion": {"width": 16, "heads": 2, "feedforward": 16, "temporal_layers": 1,
               "spectral_layers": 1, "decoder_layers": 1, "mask_hidden": 16, "dropout": 0.0},
    "enhancer": {"channels": [2, 4]},
}  # fmt: skip


def in_float64():
    """Let everything that is computed here be float64, also where the code says float32."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    fitting.collate = loaders.collate = lambda items: {
        name: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in collate(items).items()
    }


def train_all(folder, devices, ranks=1):
    """Train on `ranks` processes what settings for `devices` say; 4 items per step."""
    store = SyntheticStore()
    run = RunSettings(precision="fp32", device="cpu", threads=1, devices=devices)

    def data(frames):
        return Mixtures(store=store, draw=store.draw(frames), val=store.val(1, frames))

    def fit(seconds, lr):
        return FitSettings(
            steps=STEPS, val_every=STEPS, batch=4 // devices, seconds=seconds, lr=lr, ema=0.9
        )

    def begin(name):
        set_up_process(seed=1, threads=1)
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    lip = LipCoderTrainConfig(overrides=DOLPHIN, fit=fit(0.4, 3e-3))
    pretrain_lipcoder(lip, run, store, begin("lipcoder"))
    # Each of several ranks reads what the first one has written.
    if ranks > 1:
        torch.distributed.barrier()
    dolphin = DolphinTrainConfig(
        overrides=DOLPHIN, fit=fit(0.4, 3e-3), train_lip_encoder=True, cached_views=0
    )
    train_dolphin(dolphin, run, data(10), begin("dolphin"), folder / "lipcoder")
    stage1 = VoViTTrainConfig(overrides=VOVIT, fit=fit(2.0, 1e-3))
    train_stage1(stage1, run, data(50), begin("vovit-s1"))
    if ranks > 1:
        torch.distributed.barrier()
    enhancer = EnhancerTrainConfig(fit=fit(2.0, 1e-3))
    train_enhancer(enhancer, run, data(50), begin("vovit"), folder / "vovit-s1")


def losses(folder):
    """The losses of all steps, by what was trained."""
    found = {}
    for path in sorted(folder.glob(f"*/{STEP_LOG}")):
        with path.open() as rows:
            found[path.parent.name] = [float(row["loss"]) for row in csv.DictReader(rows)]
    return found


def record(folder):
    """Write the losses as those that the families must have."""
    found = losses(folder)
    families = {"dolphin": ("lipcoder", "dolphin"), "vovit": ("vovit-s1", "vovit")}
    for family, names in families.items():
        values = {"version": VERSION, "losses": {name: found[name] for name in names}}
        (GOLDEN / family / "losses.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--parent", type=int, default=0)
    given = parser.parse_args()
    follow_parent(given.parent)
    in_float64()
    train_all(given.out, given.devices, given.ranks)
    if given.record:
        record(given.out)
