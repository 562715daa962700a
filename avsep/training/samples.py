"""What the model makes of fixed validation items, to listen to and to look at."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.utils.data import Dataset

from avsep.files import write_bytes
from avsep.loading.mixtures import Item, collate
from avsep.media.pcm import encode_wav
from avsep.schema import RATE_HZ
from avsep.training.callback import TaskCallback
from avsep.training.config import SAMPLES
from avsep.training.loggers import each_logger
from avsep.training.task import Batch, FitTask, Shown

ITEMS = 4  # of a validation list of mixtures: both voices of the first two
PICTURES = 10  # of a strip


class Samples(TaskCallback):
    """Writes `samples/step<n>/item<i>-<name>.wav` and `.png`, and gives them to the loggers.

    The first rank separates the items by itself, with the averaged weights. Nothing of the
    training changes by it.
    """

    def __init__(self, directory: Path, items: Dataset[Item], every: int) -> None:
        """Prepare samples after each `every`-th validation; 0 for none."""
        self._directory, self._items, self._every = directory, items, every

    def after_validation(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Write them."""
        if not self._every or not trainer.is_global_zero or len(task.history) % self._every:
            return
        count = min(ITEMS, len(self._items))  # type: ignore[arg-type]
        batch = on_device(collate([self._items[i] for i in range(count)]), task.device)
        with torch.no_grad(), task.precision.autocast():
            shown = task.show(task.average.module, batch)
        folder = self._directory / SAMPLES / f"step{task.steps_done:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            for name, sounds in shown.sounds.items():
                write_bytes(folder / f"item{number}-{name}.wav", encode_wav(_pcm(sounds[number])))
            for name, videos in shown.videos.items():
                write_bytes(folder / f"item{number}-{name}.png", grey_png(_strip(videos[number])))
        step = task.steps_done
        each_logger(trainer, lambda logger: _give(logger, folder, shown, step))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A batch whose tensors lie on a device."""
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}


def grey_png(picture: np.ndarray) -> bytes:
    """A picture (H, W) uint8 as PNG, without a library of pictures: a bare machine has none."""
    height, width = picture.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(picture))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _pcm(sound: Tensor) -> np.ndarray:
    samples = np.nan_to_num(sound.float().cpu().numpy())
    return np.rint(32767 * samples.clip(-1, 1)).astype(np.int16)


def _strip(video: Tensor) -> np.ndarray:
    """Some pictures of a video (F, H, W) uint8, side by side."""
    frames = video.cpu().numpy()
    chosen = np.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


def _give(logger: Logger, folder: Path, shown: Shown, step: int) -> None:
    kind, theirs = type(logger).__name__, cast("Any", logger)  # each has methods of its own
    if kind == "MLFlowLogger":
        theirs.experiment.log_artifacts(theirs.run_id, str(folder), f"{SAMPLES}/{folder.name}")
        return
    for path in sorted(folder.iterdir()):
        name = f"{SAMPLES}/{path.stem}"
        if kind == "WandbLogger":
            give = theirs.log_audio if path.suffix == ".wav" else theirs.log_image
            give(name, [str(path)], step=step)
        elif kind == "TensorBoardLogger":
            number, of = path.stem.removeprefix("item").split("-", 1)
            board = theirs.experiment
            if path.suffix == ".wav":
                sound = shown.sounds[of][int(number)].float().cpu().clamp(-1, 1)
                column = type(board).__module__.startswith("tensorboardX")  # TensorBoard's is a row
                board.add_audio(name, sound[:, None] if column else sound[None], step, RATE_HZ)
            else:
                board.add_image(name, _strip(shown.videos[of][int(number)])[None], step)
