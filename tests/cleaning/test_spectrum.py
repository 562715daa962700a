import numpy as np
import pytest

from avsep.cleaning.scores import sound_scores
from avsep.cleaning.spectrum import bandwidth_hz, power_spectra

RATE_HZ = 16_000


def bursts(seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    """White noise at -20 dBFS in bursts of 0.5 s, once a second, (samples,) float."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 3277, round(seconds * RATE_HZ))
    return samples * (np.arange(len(samples)) % RATE_HZ < RATE_HZ // 2)


def low_passed(samples: np.ndarray, stop_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE_HZ) > stop_hz] = 0
    return np.fft.irfft(spectrum, len(samples))


def as_audio(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def test_a_tone_is_in_its_bin():
    time = np.arange(RATE_HZ) / RATE_HZ
    power = power_spectra(as_audio(8000 * np.sin(2 * np.pi * 1000 * time)))
    assert power.shape == (61, 257)
    assert (power.argmax(axis=1) == 32).all()
    assert power_spectra(np.zeros(511, np.int16)).shape == (0, 257)


@pytest.mark.parametrize("stop_hz", [2000, 3400, 4000, 6000])
def test_the_bandwidth_is_where_the_sound_ends(stop_hz):
    audio = as_audio(low_passed(bursts(), stop_hz))
    # The edge of the band that it ends in, or of the next where the window leaks into that.
    assert stop_hz <= bandwidth_hz(power_spectra(audio)) <= stop_hz + 400


def test_steady_noise_above_the_speech_does_not_count():
    rng = np.random.default_rng(1)
    hiss = rng.normal(0, 300, 4 * RATE_HZ)
    speech = low_passed(bursts(), 3000)
    assert bandwidth_hz(power_spectra(as_audio(speech + hiss))) == pytest.approx(3000, abs=250)
    assert bandwidth_hz(power_spectra(as_audio(bursts()))) == 8000


def test_silence_has_no_bandwidth():
    for audio in (np.zeros(0, np.int16), np.zeros(16_000, np.int16), np.zeros(600, np.int16)):
        assert bandwidth_hz(power_spectra(audio)) == 0
    steady = as_audio(np.random.default_rng(2).normal(0, 3000, 2 * RATE_HZ))
    assert bandwidth_hz(power_spectra(steady)) == 0


@pytest.mark.parametrize("offset", [-0.1, 0.0, 0.02])
def test_the_offset_is_the_mean(offset):
    scores = sound_scores(as_audio(bursts() + 32768 * offset))
    assert scores.dc_offset == pytest.approx(offset, abs=0.001)
    assert scores.bandwidth_hz == 8000  # it is not speech
