"""Signal and perceptual metrics against closed forms and against other implementations."""

from __future__ import annotations

import math
import sys

import fast_bss_eval
import mir_eval
import numpy as np
import pytest
import torch

from avsep.evaluation.metrics import sdr, si_snr, signal_scores, sir
from avsep.evaluation.perceptual import perceptual_scores
from avsep.evaluation.problems import Problem, count, pack, unpack

RATE = 16_000


def speech_like(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Noise with the rhythm and the spectrum of speech, so that PESQ and STOI find utterances."""
    generator = np.random.default_rng(seed)
    samples = int(seconds * RATE)
    time = np.arange(samples) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time + seed)) / RATE
    voiced = sum(np.sin(k * pitch) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time + seed) + 0.4, 0, None)
    noise = 0.05 * generator.standard_normal(samples)
    return (0.1 * syllables * (voiced + noise)).astype(np.float32)


def perceptual(estimate: np.ndarray, target: np.ndarray):
    return perceptual_scores(
        torch.from_numpy(estimate.astype(np.float32)), torch.from_numpy(target)
    )


def orthogonal_pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A zero-mean target and zero-mean noise with no part in common."""
    generator = torch.Generator().manual_seed(seed)
    target, noise = torch.randn(2, 8000, dtype=torch.float64, generator=generator)
    target = target - target.mean()
    noise = noise - noise.mean()
    noise = noise - (noise @ target) / (target @ target) * target
    return target, noise


@pytest.mark.parametrize("wanted_db", [-20.0, 0.0, 7.5, 40.0])
@pytest.mark.parametrize("scale", [1.0, -3.0, 1e-4])
def test_si_snr_of_scaled_target_and_orthogonal_noise_is_exact(wanted_db, scale):
    target, noise = orthogonal_pair()
    noise = noise * target.norm() / noise.norm() * 10 ** (-wanted_db / 20)
    assert float(si_snr(scale * (target + noise), target)) == pytest.approx(wanted_db, abs=1e-6)


def test_si_snr_ignores_a_constant_offset():
    target, noise = orthogonal_pair()
    assert float(si_snr(target + noise + 0.3, target - 0.1)) == pytest.approx(
        float(si_snr(target + noise, target)), abs=1e-9
    )


def test_quiet_recordings_score_like_loud_ones_in_float32():
    target, noise = (t.float() for t in orthogonal_pair())
    loud, _ = signal_scores(target + 0.1 * noise, target)
    quiet, _ = signal_scores(1e-4 * (target + 0.1 * noise), 1e-4 * target)
    assert quiet["si_snr"] == pytest.approx(loud["si_snr"], abs=1e-3)
    assert quiet["sdr"] == pytest.approx(loud["sdr"], abs=1e-3)


def test_sdr_agrees_with_fast_bss_eval_and_mir_eval():
    generator = np.random.default_rng(3)
    target = speech_like(1)
    room = np.exp(-np.arange(64) / 12.0) * generator.standard_normal(64)
    estimate = np.convolve(target, room)[: len(target)]
    estimate = estimate + 0.05 * generator.standard_normal(len(target))
    ours = float(sdr(torch.from_numpy(estimate), torch.from_numpy(target)))
    fast, _ = fast_bss_eval.sdr(target[None], estimate[None], return_perm=True)
    theirs = mir_eval.separation.bss_eval_sources(target[None], estimate[None])[0]
    assert ours == pytest.approx(float(np.squeeze(fast)), abs=0.01)
    assert ours == pytest.approx(float(theirs[0]), abs=0.05)
    # The 512-tap filter absorbs the room, which SI-SNR counts as distortion.
    assert ours > float(si_snr(torch.from_numpy(estimate), torch.from_numpy(target))) + 3


def test_one_singular_item_does_not_affect_its_batch():
    target = torch.from_numpy(np.stack([speech_like(1), np.zeros(32000, np.float32)]))
    estimate = target + 0.01
    values = sdr(estimate, target)
    alone = sdr(estimate[0], target[0])
    assert torch.isnan(values[1])
    assert float(values[0]) == pytest.approx(float(alone))


@pytest.mark.parametrize(
    ("estimate", "target", "problem"),
    [
        ("noise", "zeros", Problem.SILENT_TARGET),
        ("noise", "constant", Problem.SILENT_TARGET),
        ("zeros", "noise", Problem.SILENT_ESTIMATE),  # torchmetrics alone says 0 dB
        ("nan", "noise", Problem.NON_FINITE_ESTIMATE),
    ],
)
def test_a_pair_that_cannot_be_scored_is_nan_with_a_reason(estimate, target, problem):
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    signals = {
        "noise": noise,
        "zeros": torch.zeros(16000),
        "constant": torch.full((16000,), 0.3),
        "nan": noise.clone().index_fill_(0, torch.tensor([5]), math.nan),
    }
    values, problems = signal_scores(signals[estimate], signals[target])
    assert problems == {"si_snr": problem, "sdr": problem}
    assert all(math.isnan(value) for value in values.values())


def test_a_perfect_copy_is_finite_and_very_high_or_has_no_value():
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    values, problems = signal_scores(0.5 * noise, noise)
    for metric, value in values.items():
        assert value > 90 or metric in problems


def test_pesq_and_stoi_fall_with_noise_and_are_highest_for_the_target():
    target = speech_like(2)
    noise = np.random.default_rng(0).standard_normal(len(target)).astype(np.float32)
    results = [perceptual(target + a * noise, target) for a in (0.0, 0.01, 0.1)]
    assert not any(problems for _, problems in results)
    for metric in ("pesq", "stoi", "estoi"):
        clean, little, much = (values[metric] for values, _ in results)
        assert clean > little > much
    assert results[0][0]["pesq"] == pytest.approx(4.64, abs=0.01)
    assert results[0][0]["stoi"] == pytest.approx(1.0, abs=1e-6)


def test_pesq_and_stoi_of_too_little_speech_have_a_reason_and_no_score():
    click = np.zeros(32000, np.float32)
    click[16000:16016] = 0.5
    values, problems = perceptual(click + 1e-4, click)
    assert problems["stoi"] is problems["estoi"] is Problem.TOO_SHORT
    assert math.isnan(values["stoi"])
    short = speech_like(1)[:3000]
    _, problems = perceptual(short, short)
    assert problems["pesq"] is Problem.TOO_SHORT


def test_pesq_that_finds_no_utterance_has_a_reason(monkeypatch):
    import pesq

    def refuse(*_args, **_kwargs):
        raise pesq.NoUtterancesError(b"No utterances detected")

    monkeypatch.setattr(pesq, "pesq", refuse)
    sound = speech_like(1)
    values, problems = perceptual(sound, sound)
    assert problems == {"pesq": Problem.NO_UTTERANCES}
    assert math.isnan(values["pesq"])
    assert values["stoi"] == pytest.approx(1.0, abs=1e-6)


def test_without_the_packages_the_values_are_nan_with_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    sound = speech_like(1)
    values, problems = perceptual(sound, sound)
    assert set(problems.values()) == {Problem.PACKAGE_MISSING}
    assert all(math.isnan(value) for value in values.values())


def test_problems_survive_their_text_form_and_are_counted():
    problems = {"pesq": Problem.NO_UTTERANCES, "sdr": Problem.SINGULAR}
    assert unpack(pack(problems)) == problems
    assert unpack("") == {}
    texts = [pack(problems), "", pack({"pesq": Problem.TOO_SHORT})]
    assert count(texts, "pesq") == {"no_utterances": 1, "too_short": 1}


@pytest.mark.slow
def test_sir_agrees_with_mir_eval_and_measures_only_the_other_voice():
    rng = np.random.default_rng(5)
    voices = rng.standard_normal((2, 6000))
    noise = rng.standard_normal(6000)
    estimate = voices[0] + 0.3 * voices[1] + 0.2 * noise
    given = torch.from_numpy(estimate), torch.from_numpy(voices[0]), torch.from_numpy(voices[1:])
    _, wanted, _, _ = mir_eval.separation.bss_eval_sources(
        voices, np.stack([estimate, estimate]), compute_permutation=False
    )
    assert float(sir(*given)) == pytest.approx(wanted[0], abs=0.05)
    # Noise does not count as interference; the other voice does.
    louder = torch.from_numpy(estimate + 0.3 * noise)
    assert float(sir(louder, *given[1:])) == pytest.approx(float(sir(*given)), abs=1)
    worse = torch.from_numpy(estimate + voices[1])
    assert float(sir(worse, *given[1:])) < float(sir(*given)) - 8


def test_scores_do_not_depend_on_the_number_of_threads():
    targets = torch.from_numpy(np.stack([speech_like(1), speech_like(2)]))
    estimates = targets + 0.01 * torch.randn(targets.shape, generator=torch.manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            one = sir(estimates[0], targets[0], targets[1:])
            found.append([*sdr(estimates, targets).tolist(), float(one)])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_sir_without_the_other_voices_is_refused():
    voice = torch.from_numpy(speech_like(1))
    with pytest.raises(ValueError, match="SIR needs the other voices"):
        signal_scores(voice + 0.01, voice, ("sir",))


def test_estoi_is_the_same_whatever_random_numbers_were_drawn_before():
    """pystoi adds noise from numpy's global generator, which is left as it was."""
    target = speech_like(2)
    noise = np.random.default_rng(0).standard_normal(len(target)).astype(np.float32)
    np.random.seed(1)
    first = perceptual(target + 0.1 * noise, target)[0]["estoi"]
    after = np.random.rand()
    np.random.seed(2)
    assert perceptual(target + 0.1 * noise, target)[0]["estoi"] == first
    np.random.seed(1)
    assert np.random.rand() == after
