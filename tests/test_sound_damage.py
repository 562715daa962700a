"""Damage to the sound: what each kind changes, by how much, and what the references are then."""

import numpy as np
import pytest

from avsep.damage import SOUND, generator_of
from avsep.loading.augment import damage_voices
from avsep.loading.config import AugmentConfig
from avsep.room import draw_room, impulse_response
from avsep.sound_damage import babble_of, damage_sound

LENGTH = 32_000
RNG = np.random.default_rng(0)
TIME = np.arange(LENGTH) / 16_000
VOICES = np.stack(
    [
        np.sin(2 * np.pi * hz * TIME) * np.sin(2 * np.pi * beat * TIME) ** 2 * loud
        for hz, beat, loud in ((300, 2, 0.2), (1200, 3, 0.1))
    ]
).astype(np.float32)
MIXTURE = VOICES.sum(axis=0)
REST = RNG.normal(0, 0.01, LENGTH).astype(np.float32)
OTHERS = babble_of(list(RNG.normal(0, 1, (3, LENGTH))))


def damage(kind, severity, seed="a", **options):
    return damage_sound(
        VOICES, kind, severity, generator_of(kind, seed), **({"babble": OTHERS} | options)
    )


def db(one, other):
    return 10 * np.log10(np.square(one, dtype=float).sum() / np.square(other, dtype=float).sum())


@pytest.mark.parametrize("kind", SOUND)
def test_a_damage_is_the_same_each_time_and_leaves_its_input(kind):
    before = VOICES.copy(), REST.copy(), OTHERS.copy()
    first, second = damage(kind, 0.5, rest=REST), damage(kind, 0.5, rest=REST)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip((VOICES, REST, OTHERS), before, strict=True))
    mixture, references = first
    assert (mixture.shape, mixture.dtype) == ((LENGTH,), np.float32)
    assert (references.shape, references.dtype) == (VOICES.shape, np.float32)
    assert not np.array_equal(mixture, MIXTURE + REST)


@pytest.mark.parametrize("kind", ["babble", "noise"])
@pytest.mark.parametrize(("severity", "snr_db"), [(1.0, 0.0), (0.5, 6.02), (0.1, 20.0)])
def test_what_is_added_has_its_snr_and_the_voices_stay(kind, severity, snr_db):
    mixture, references = damage(kind, severity)
    assert np.array_equal(references, VOICES)
    assert db(MIXTURE, mixture - MIXTURE) == pytest.approx(snr_db, abs=0.1)
    with_rest, _ = damage(kind, severity, rest=REST)
    np.testing.assert_allclose(with_rest - REST, mixture, atol=1e-6)


def test_babble_is_the_voices_it_is_given_each_as_loud():
    voices = RNG.normal(0, 1, (2, LENGTH)) * [[1], [100]]
    both = babble_of([*voices, np.zeros(LENGTH)])
    shares = [both @ voice / np.linalg.norm(voice) for voice in voices]
    assert shares == pytest.approx([1, 1], abs=0.05)
    mixture, _ = damage("babble", 0.3)
    added = mixture - MIXTURE
    assert added @ OTHERS / np.sqrt((added @ added) * (OTHERS @ OTHERS)) > 0.9999


def test_noise_has_the_spectrum_of_the_voices_and_is_another_for_another_mixture():
    added = damage("noise", 1.0)[0] - MIXTURE
    bands = [np.square(np.abs(np.fft.rfft(sound))) for sound in (added, MIXTURE)]
    hz = np.fft.rfftfreq(LENGTH, 1 / 16_000)
    for low, high in ((200, 400), (1100, 1300)):
        some = (hz >= low) & (hz < high)
        one, other = (power[some].sum() / power.sum() for power in bands)
        assert one == pytest.approx(other, rel=0.1)
    assert bands[0][hz > 2000].sum() < 0.01 * bands[0].sum()
    again = damage("noise", 1.0, seed="b")[0] - MIXTURE
    assert abs(db(added, added - again) + 3) < 0.5  # not alike


def test_a_quiet_recording_has_less_level_and_whole_steps_of_16_bits():
    mixture, references = damage("quiet", 0.5, rest=REST)
    assert db(mixture, MIXTURE + REST) == pytest.approx(-20, abs=0.1)
    np.testing.assert_allclose(references, 0.1 * VOICES, atol=1e-7)
    steps = mixture.astype(float) * 32768
    assert np.array_equal(steps, np.rint(steps))
    assert db(damage("quiet", 1.0)[0], MIXTURE) == pytest.approx(-40, abs=0.1)


def test_one_voice_becomes_weaker_and_the_other_stays():
    for voice in (0, 1):
        mixture, references = damage("weaker", 0.4, voice=voice, rest=REST)
        assert db(references[voice], VOICES[voice]) == pytest.approx(-6, abs=0.01)
        assert np.array_equal(references[1 - voice], VOICES[1 - voice])
        np.testing.assert_allclose(mixture, references.sum(axis=0) + REST, atol=1e-6)


def test_the_reference_in_a_room_is_the_early_voice_in_step_with_the_dry_one():
    """By hand: the room's responses, and what comes within 50 ms of the direct sound."""
    clicks = np.zeros((2, LENGTH), np.float32)
    clicks[0, 1000], clicks[1, 20_000] = 0.5, 0.25
    mixture, references = damage_sound(clicks, "reverberant", 0.6, generator_of("x"))
    rng = generator_of("x")
    room = draw_room(2, rng)
    for number, place in enumerate((1000, 20_000)):
        response = impulse_response(room, number, 0.6, 16_000, rng)
        heard = response / np.linalg.norm(response) * clicks[number, place]
        stop = place + 800
        np.testing.assert_allclose(references[number, place:stop], heard[:800], atol=1e-6)
        assert np.abs(references[number, :place]).max() < 1e-6
        assert np.abs(references[number, stop:]).max() < 1e-6
        assert np.argmax(np.abs(references[number])) == place
        # Each voice has died away before the next one and before the end.
        np.testing.assert_allclose(mixture[place : place + len(heard)], heard, atol=1e-6)


def test_a_room_leaves_each_voice_its_energy_and_a_longer_one_has_more_late_sound():
    late = []
    for severity in (0.1, 0.3, 1.0):
        mixture, references = damage("reverberant", severity)
        assert db(mixture, MIXTURE) == pytest.approx(0, abs=0.5)
        late.append(db(mixture - references.sum(axis=0), MIXTURE))
    assert late[0] < -25
    assert late[0] + 10 < late[1] < late[2] - 2
    alone, _ = damage_sound(VOICES[:1], "reverberant", 0.5, generator_of("x"))
    assert db(alone, VOICES[0]) == pytest.approx(0, abs=0.01)


def test_the_room_of_a_mixture_is_the_same_at_every_severity():
    places = [draw_room(2, generator_of("reverberant", "m")) for _ in range(2)]
    assert places[0] == places[1] != draw_room(2, generator_of("reverberant", "n"))


def test_a_mixture_that_would_clip_is_turned_down_with_its_references():
    loud = VOICES / np.abs(MIXTURE).max()
    mixture, references = damage_sound(loud, "noise", 1.0, generator_of("x"))
    assert np.abs(mixture).max() == pytest.approx(0.99, abs=1e-3)
    factor = np.linalg.norm(references) / np.linalg.norm(loud)
    assert factor < 0.9
    np.testing.assert_allclose(references, factor * loud, atol=1e-6)


@pytest.mark.parametrize("kind", SOUND)
def test_silence_stays_silent(kind):
    silent = np.zeros((2, 640), np.float32)
    mixture, references = damage_sound(silent, kind, 1.0, generator_of("x"), babble=np.ones(640))
    assert not mixture.any()
    assert not references.any()


def test_training_without_damage_is_as_before_and_with_it_some_mixtures_change():
    changed = asked = 0
    for seed in range(60):
        mixture, voices = damage_voices(VOICES, list, AugmentConfig(), np.random.default_rng(seed))
        assert voices is VOICES
        assert np.array_equal(mixture, MIXTURE)

        def neighbours():
            nonlocal asked
            asked += 1
            return [] if asked % 2 else [MIXTURE[::-1]]

        mixture, _ = damage_voices(
            VOICES, neighbours, AugmentConfig(sound=0.5), np.random.default_rng(seed)
        )
        changed += not np.array_equal(mixture, MIXTURE)
    assert 18 < changed < 42
    assert 1 < asked < 15  # only for babble; without other speakers it is noise
