"""Lip features of whole clips, computed once by a frozen lip encoder."""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from avsep.loading.augment import crop_lips
from avsep.loading.config import AugmentConfig
from avsep.mixing.voices import Voice
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.shards.store import ShardStore

LIMIT_BYTES = 1 << 30
TYPE = torch.float16
VISITS_TO_FILL = 3  # a rank that visits each view so often on average meets 95 % of them


class LipFeatureCache:
    """Lip features of whole clips, computed once by a frozen lip encoder, in float16.

    On a CPU the lip encoder costs as much as a small separator; its features do not change while
    it is frozen. So that training pictures still vary, a clip may have several views: view 0 is the
    clip as it is stored, each further one a cut, a mirror image and a light of its own.
    """

    def __init__(
        self,
        model: Dolphin,
        store: ShardStore,
        augment: AugmentConfig,
        *,
        seed: int,
        voices: Sequence[Voice],
        views: int = 0,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        """Prepare an empty cache.

        Args:
            model: computes the features; its lip encoder must be frozen.
            store: the store with the lips.
            augment: how views differ.
            seed: seed of the views.
            voices: the voices that training draws from.
            views: number of views of a training clip besides the stored one; 0 if training sees
                the stored one.
            limit_bytes: size of the features to keep; beyond it, the oldest are computed again
                when needed.
        """
        self._encoder, self._size = model.lip_encoder, model.config.lip.image_size
        self._store, self._augment, self._seed = store, augment, seed
        self._limit = limit_bytes
        # The views that `TrainMixtures` draws from.
        seen = range(1, views + 1) if views else [0]
        self._wanted = [(voice, view) for voice in voices for view in seen]
        self._features: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._bytes = 0

    @torch.no_grad()
    def at(self, keys: list[str], positions: Tensor, views: Tensor) -> Tensor:
        """Features at positions of clips, interpolated linearly between their frames.

        Args:
            keys: keys of the samples, one per item.
            positions: (B, F) in frames.
            views: (B,) number of the view of each clip.

        Returns:
            (B, F, D) float32.
        """
        rows = []
        for key, position, view in zip(keys, positions.cpu(), views.tolist(), strict=True):
            clip = self._clip(key, view)
            before = position.floor().long()
            after = (before + 1).clamp(max=len(clip) - 1)
            share = (position - before)[:, None]
            rows.append(torch.lerp(clip[before].float(), clip[after].float(), share))
        return torch.stack(rows)

    @torch.no_grad()
    def fill_together(
        self,
        *,
        visits: int,
        rank: int = 0,
        num_ranks: int = 1,
        add_up: Callable[[Tensor], Tensor] = lambda part: part,
    ) -> None:
        """Compute the features of all clips of training now, each on one rank alone.

        Without this, each rank would compute nearly all of them. Does nothing if the run is too
        short to visit most of them, or if they exceed the limit.

        Args:
            visits: training items that are still to come on each rank.
            rank: this one.
            num_ranks: that call this at the same time, with the same voices.
            add_up: gives every rank the sum over all ranks of a tensor.
        """
        lengths = [voice.num_frames for voice, _ in self._wanted]
        width = self._encoder.config.feature_size
        too_much = sum(lengths) * width * TYPE.itemsize > self._limit
        if too_much or visits < VISITS_TO_FILL * len(lengths):
            return
        started = time.monotonic()
        whole = torch.zeros(sum(lengths), width, dtype=TYPE)
        parts = whole.split(lengths)
        for number in range(rank, len(parts), num_ranks):
            voice, view = self._wanted[number]
            parts[number].copy_(self._computed(voice.key, view))
        for (voice, view), part in zip(self._wanted, add_up(whole).split(lengths), strict=True):
            self._keep(voice.key, view, part.to("cpu", copy=True))
        if rank == 0:
            seconds = time.monotonic() - started
            print(f"dolphin: lip features of {len(lengths)} views, {seconds:.0f} s", flush=True)

    def _clip(self, key: str, view: int) -> Tensor:
        if (key, view) not in self._features:
            self._keep(key, view, self._computed(key, view))
        return self._features[key, view]

    def _keep(self, key: str, view: int, features: Tensor) -> None:
        before = self._features.pop((key, view), None)
        self._bytes += features.nbytes - (0 if before is None else before.nbytes)
        self._features[key, view] = features
        while self._bytes > self._limit and len(self._features) > 1:
            _, oldest = self._features.popitem(last=False)
            self._bytes -= oldest.nbytes

    def _computed(self, key: str, view: int) -> Tensor:
        """(T, D), on the CPU."""
        assert not self._encoder.training
        lips = torch.from_numpy(self._picture(key, view))[None]
        device = next(self._encoder.parameters()).device
        with torch.autocast(device.type, enabled=False):
            return self._encoder(prepare_lips(lips.to(device), self._size))[0].to(TYPE).cpu()

    def _picture(self, key: str, view: int) -> np.ndarray:
        lips = self._store.lips(key)
        if view == 0:
            return np.array(lips)
        # crc32: the same in every process, unlike `hash`.
        rng = np.random.default_rng([self._seed, zlib.crc32(key.encode("ascii")), view])
        return crop_lips(lips, self._augment, rng)
