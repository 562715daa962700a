"""Training of Dolphin: the separator on top of a pretrained lip encoder."""

from __future__ import annotations

import zlib
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.loading.augment import AugmentConfig, crop_lips
from pipeline.loading.cues import Store
from pipeline.models.dolphin import Dolphin, prepare_lips
from pipeline.training.losses import negative_si_sdr, negative_snr
from pipeline.training.precision import Precision
from pipeline.training.separation_task import SeparationTask
from pipeline.training.settings import FitSettings
from pipeline.training.task import Batch

CACHE_LIMIT_BYTES = 1 << 30


class DolphinTask(SeparationTask):
    """Negative SNR, which keeps the level of the voice (IIANet's recipe), by stored lips.

    The lip encoder is frozen, as in the paper, and then stays in eval mode; `train_lip_encoder`
    fits it along.
    """

    model: Dolphin

    def __init__(
        self,
        model: Dolphin,
        settings: FitSettings,
        *,
        seed: int,
        precision: Precision,
        level_free: bool = False,
        train_lip_encoder: bool = False,
        features: LipFeatureCache | None = None,
    ) -> None:
        """Prepare the training.

        Args:
            model: with a pretrained lip encoder.
            settings: of the fit.
            seed: of dropout.
            precision: of the forward pass.
            level_free: take negative SI-SDR as loss, which leaves the level open.
            train_lip_encoder: do not freeze it.
            features: features of whole clips; items are then looked up by key and carry no lips.
        """
        if not train_lip_encoder:
            model.freeze_lip_encoder()
        super().__init__(model, settings, seed=seed, precision=precision)
        self._loss = negative_si_sdr if level_free else negative_snr
        self._features = features

    def loss(self, batch: Batch) -> Tensor:
        """Negative SNR (or SI-SDR) of the estimate, in dB."""
        return self._loss(self._separate(self.model, batch), batch["target"])

    def estimate(self, model: nn.Module, batch: Batch) -> Tensor:
        """(batch, samples)."""
        assert isinstance(model, Dolphin)
        return self._separate(model, batch)

    def _separate(self, model: Dolphin, batch: Batch) -> Tensor:
        if "lips" in batch:
            size = self.model.config.lip.image_size
            lips = prepare_lips(batch["lips"], size)
            return model(batch["mixture"], lips).squeeze(1)
        assert self._features is not None
        features = self._features.at(batch["key"], batch["places"], batch["look"])
        return model.separate_features(batch["mixture"], features.to(self.device)).squeeze(1)


class LipFeatureCache:
    """Lip features of whole clips, computed once by a frozen lip encoder, in float16.

    On a CPU the lip encoder costs as much as a small separator; its features do not change while
    it is frozen. So that training pictures still vary, a clip may have several looks: look 0 is the
    clip as it is stored, each further one a cut, a mirror image and a light of its own.
    """

    def __init__(
        self,
        model: Dolphin,
        store: Store,
        augment: AugmentConfig,
        *,
        seed: int,
        limit_bytes: int = CACHE_LIMIT_BYTES,
    ) -> None:
        """Prepare an empty cache.

        Args:
            model: computes features; its lip encoder must be frozen.
            store: has the lips.
            augment: how looks differ.
            seed: of the looks.
            limit_bytes: of features to keep; beyond, the oldest are computed again when needed.
        """
        self._encoder, self._size = model.lip_encoder, model.config.lip.image_size
        self._store, self._augment, self._seed = store, augment, seed
        self._limit = limit_bytes
        self._features: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        self._bytes = 0

    @torch.no_grad()
    def at(self, keys: list[str], places: Tensor, looks: Tensor) -> Tensor:
        """Features at places of clips, on straight lines between their frames.

        Args:
            keys: of the samples, one an item.
            places: (B, F) in frames.
            looks: (B,) which look of the clip.

        Returns:
            (B, F, D) float32.
        """
        rows = []
        for key, place, look in zip(keys, places.cpu(), looks.tolist(), strict=True):
            clip = self._clip(key, look)
            before = place.floor().long()
            after = (before + 1).clamp(max=len(clip) - 1)
            share = (place - before)[:, None]
            rows.append(torch.lerp(clip[before].float(), clip[after].float(), share))
        return torch.stack(rows)

    def _clip(self, key: str, look: int) -> Tensor:
        if (key, look) not in self._features:
            assert not self._encoder.training
            lips = torch.from_numpy(self._picture(key, look))[None]
            device = next(self._encoder.parameters()).device
            with torch.autocast(device.type, enabled=False):
                features = self._encoder(prepare_lips(lips.to(device), self._size))[0].half().cpu()
            self._features[key, look] = features
            self._bytes += features.nbytes
            while self._bytes > self._limit and len(self._features) > 1:
                _, oldest = self._features.popitem(last=False)
                self._bytes -= oldest.nbytes
        return self._features[key, look]

    def _picture(self, key: str, look: int) -> np.ndarray:
        lips = self._store.lips(key)
        if look == 0:
            return np.array(lips)
        # crc32: the same in every process, unlike `hash`.
        rng = np.random.default_rng([self._seed, zlib.crc32(key.encode("ascii")), look])
        return crop_lips(lips, self._augment, rng)
