"""The lip encoder of small models sees what moves, not whose mouth it is."""

import dataclasses

import torch

from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.lip_encoder import LipEncoder
from avsep.models.dolphin.lipcoder import LipCoderConfig, LipCoderPretraining

CONFIG = LipEncoderConfig(
    shrink=8, layers=("compress_space",), first_channels=2, first_kernel=(3, 3, 3), motion_only=True
)


def test_a_still_picture_under_the_motion_changes_nothing():
    torch.manual_seed(0)
    encoder = LipEncoder(CONFIG).eval()
    lips = torch.randn(2, 1, 10, 88, 88)
    other_face = torch.randn(2, 1, 1, 88, 88)
    torch.testing.assert_close(encoder(lips), encoder(lips + other_face), atol=1e-4, rtol=1e-4)
    whole = LipEncoder(dataclasses.replace(CONFIG, motion_only=False)).eval()
    assert (whole(lips) - whole(lips + other_face)).abs().max() > 0.01


def test_a_frozen_picture_says_nothing():
    encoder = LipEncoder(CONFIG).eval()
    one, other = (torch.randn(1, 1, 1, 88, 88).expand(-1, -1, 10, -1, -1) for _ in range(2))
    torch.testing.assert_close(encoder(one), encoder(other), atol=1e-5, rtol=1e-4)


def test_the_decoder_rebuilds_what_the_encoder_saw():
    torch.manual_seed(0)
    model = LipCoderPretraining(LipCoderConfig(lip=CONFIG, teacher_size=4)).eval()
    still = torch.randn(1, 1, 1, 88, 88).expand(-1, -1, 6, -1, -1)
    seen = model.encoder.preprocess(still)
    assert seen.shape == (1, 1, 6, 11, 11)
    assert seen.abs().max() < 1e-4
    losses = model(still, torch.zeros(1, 6, 4))
    rebuilt = model.decoder(model.encoder.encode_paths(still).total)
    torch.testing.assert_close(losses["recon"], rebuilt.square().mean())
