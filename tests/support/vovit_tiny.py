"""A VoViT that runs in milliseconds, and a synthetic face for it."""

import torch

from avsep.models.vovit.config import (
    AudioEncoderConfig,
    EnhancerConfig,
    FusionConfig,
    GraphConfig,
    SpectrumConfig,
    VoViTConfig,
)
from avsep.models.vovit.model import VoViT
from avsep.schema import Cues


def tiny_config(variant="speech-s1"):
    return VoViTConfig(
        variant=variant,
        spectrum=SpectrumConfig(num_frames=256 if variant == "singing" else 128),
        graph=GraphConfig(channels=(4, 6)),
        audio_encoder=AudioEncoderConfig(
            channels=4, out_channels=2, convs=((1, 7, 1, 1), (5, 5, 2, 2)), frequency_stride=4
        ),
        fusion=FusionConfig(
            width=32,
            heads=4,
            feedforward=32,
            temporal_layers=1,
            spectral_layers=1,
            decoder_layers=1,
            mask_hidden=32,
            dropout=0.1,
        ),
        enhancer=EnhancerConfig(channels=(2, 2, 2, 2, 2, 2)),
    )


def face():
    """A lopsided cloud of 68 points (68, 3), about as large as a face in the 224 frame."""
    generator = torch.Generator().manual_seed(68)
    return torch.randn(68, 3, generator=generator) * torch.tensor([40.0, 35.0, 25.0]) + 112


def tiny_model(variant="speech-s1", seed=0):
    """A model in eval mode whose masks depend strongly on what it hears and sees."""
    torch.manual_seed(seed)
    model = VoViT(tiny_config(variant))
    torch.nn.init.normal_(model.network.stage1.fusion.mask_out.weight, std=0.3)
    if variant != "singing":
        model.set_mean_face(face())
    return model.eval()


def moving_face(batch, frames, seed=1):
    """(B, F, 68, 3): the face with a moving mouth."""
    generator = torch.Generator().manual_seed(seed)
    points = face().expand(batch, frames, 68, 3).clone()
    points[:, :, 48:, 1] += 5 * torch.rand(batch, frames, 1, generator=generator)
    return points


def noise(batch, samples, seed=2, level=0.1):
    generator = torch.Generator().manual_seed(seed)
    return level * torch.randn(batch, samples, generator=generator)


def cues(landmarks, valid=None):
    if valid is None:
        valid = torch.ones(landmarks.shape[:2], dtype=torch.uint8)
    return Cues(lips=None, landmarks=landmarks, valid=valid)
