"""A recordable forward pass beside the model that it was made of."""

import torch


def compare(whole, model, batch, samples):
    generator = torch.Generator().manual_seed(samples)
    sound = 0.1 * torch.randn(batch, samples, generator=generator)
    cue = whole.example(batch, samples, generator)
    with torch.no_grad():
        expected = model.estimate(sound, whole.cues(cue))
        assert expected.abs().max() > 1e-3
        assert torch.allclose(whole(sound, cue), expected, atol=2e-6), samples
