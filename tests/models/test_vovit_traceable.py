"""VoViT's recordable forward pass computes what the model does, on any length."""

import pytest
import torch

from avsep.models.vovit.landmarks import fill_gaps, lost_frames
from avsep.models.vovit.registration import register
from avsep.models.vovit.traceable import TraceableVoViT, _fill_gaps, _register
from tests.support.traceable import compare
from tests.support.vovit_tiny import face, moving_face, tiny_model


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["speech-s1", "speech", "singing"])
def test_vovit_of_one_and_of_several_chunks(variant):
    model = tiny_model(variant)
    whole = TraceableVoViT(model)
    for batch, samples in ((2, 1), (1, 31_999), (2, 32_000), (1, 32_001), (2, 150_001)):
        compare(whole, model, batch, samples)


@pytest.mark.parametrize("lost", [[], [0], [7], [0, 1, 4, 5, 6, 9], range(10)])
def test_gaps_are_filled_as_before(lost):
    points = moving_face(2, 10)
    points[0, list(lost)] = 0
    gone = lost_frames(points)
    assert torch.equal(_fill_gaps(points, gone, face()), fill_gaps(points, gone, face()))


def test_registration_without_singular_values():
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(40, 3, 3, generator=generator))[0]
    turned = moving_face(1, 40)[0] @ turn + 30  # half of them mirrored
    flat = moving_face(1, 40)[0] * torch.tensor([1.0, 1.0, 0.0])
    for points in (turned, flat):
        assert torch.allclose(_register(points, face()), register(points, face()), atol=1e-3)
