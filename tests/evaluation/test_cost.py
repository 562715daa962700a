"""The cost of a model: counted MACs, measured time and memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.cost import example_input, measure, measure_in_child
from avsep.evaluation.macs import counted_macs
from tests.support.band_separator import load_band_separator, load_hungry_separator


class Known(nn.Module):
    """A network whose multiply-accumulates are easy to count by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 3, padding=1, bias=False)
        self.out = nn.Conv1d(8, 1, 1, bias=False)

    def estimate(self, mixture, cues):
        torch.stft(mixture, 512, return_complex=True, window=torch.ones(512))  # not counted
        return self.out(torch.relu(self.conv(mixture[:, None])))[:, 0]


def test_macs_of_convolutions_are_exact_and_ffts_are_not_counted():
    mixture, cues = example_input(0.4)
    assert mixture.shape == (1, 6400)
    assert cues.lips.shape == (1, 10, 96, 96)
    assert counted_macs(lambda: Known().estimate(mixture, cues)) == 6400 * (8 * 3 + 8)


def test_measure_reports_sizes_times_and_the_machine():
    cost = measure(load_band_separator, audio_s=0.4, runs=3, threads=1, device="cpu")
    assert (cost.parameters, cost.trainable_parameters) == (41, 41)
    assert cost.macs == 40
    assert cost.audio_s == pytest.approx(0.4)
    assert 0 < cost.best_s <= cost.latency_s
    assert cost.real_time_factor == pytest.approx(cost.latency_s / 0.4)
    assert "PyTorch" in cost.versions
    assert cost.machine
    assert None not in cost.as_values().values()


@pytest.mark.slow
def test_peak_memory_is_the_models_own_and_not_the_parents():
    ballast = torch.ones(400 * (1 << 20) // 4)  # inherited by ru_maxrss, not by a fresh process
    config = EvaluateConfig(cost_audio_s=0.4, cost_runs=1, threads=1, cost_timeout_s=120)
    cost = measure_in_child(load_hungry_separator, config, "cpu")
    assert ballast.sum() > 0
    grown = cost.peak_memory_mb - cost.model_memory_mb
    assert 90 < grown < 250
