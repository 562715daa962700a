import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from avsep.mixing.render import PEAK_LIMIT, joint_scale, linear_gain, render
from avsep.schema import MixtureRecipe, SourceRecipe

VECTOR = Path(__file__).parents[1] / "golden" / "mixing" / "render_vector.json"


def source(key: str, start: int = 0, gain_db: float = 0.0, **changes) -> SourceRecipe:
    values = {"key": key, "speaker": key, "group": key, "gender": "", "level_db": -26.0}
    return SourceRecipe(**(values | changes), start=start, gain_db=gain_db)


def recipe(*sources: SourceRecipe, num_samples: int = 1_280, scale: float = 1.0) -> MixtureRecipe:
    return MixtureRecipe(
        mixture_id="test-0", protocol="strict-2mix", version=1, seed=0, num_samples=num_samples,
        scale=scale, sources=sources,
    )  # fmt: skip


def integer_noise(seed: int, count: int, bits: int = 13) -> np.ndarray:
    """(count,) int16 from a linear congruential generator: the same in any language."""
    state, values = seed, []
    for _ in range(count):
        state = (1_103_515_245 * state + 12_345) % 2**31
        values.append((state >> 8) % 2**bits - 2 ** (bits - 1))
    return np.array(values, np.int16)


AUDIO = {"a": integer_noise(1, 3_200), "b": integer_noise(2, 3_200)}


def digest(signal: np.ndarray) -> str:
    return hashlib.sha256((signal * 32768).astype("<i2").tobytes()).hexdigest()


def test_bits_are_those_of_the_committed_vector():
    for case in json.loads(VECTOR.read_text()):
        values = case["recipe"]
        made = MixtureRecipe(**values | {"sources": tuple(map(source_of, values["sources"]))})
        found = render(made, AUDIO.__getitem__)
        assert found.scale == case["scale"]
        assert digest(found.mixture) == case["mixture_sha256"]
        assert [digest(voice) for voice in found.sources] == case["sources_sha256"]
        assert (found.mixture[:8] * 32768).astype(int).tolist() == case["mixture_begins"]


def source_of(values: dict) -> SourceRecipe:
    return SourceRecipe(**values)


def test_mixture_is_exactly_the_sum_on_the_grid_of_16_bits():
    found = render(recipe(source("a", 640, 3.21), source("b", 1_280, -4.0)), AUDIO.__getitem__)
    assert found.mixture.dtype == found.sources.dtype == np.float32
    assert found.mixture.shape == (1_280,)
    assert found.sources.shape == (2, 1_280)
    assert np.array_equal(found.mixture, found.sources[0] + found.sources[1])
    for signal in (found.mixture, *found.sources):
        steps = signal.astype(np.float64) * 32768
        assert np.array_equal(steps, np.rint(steps))
    expected = np.rint(AUDIO["a"][640:1_920] * linear_gain(3.21)) / 32768
    assert np.array_equal(found.sources[0], expected.astype(np.float32))


def test_no_gain_gives_the_stored_samples():
    found = render(recipe(source("a"), source("b")), AUDIO.__getitem__)
    assert np.array_equal(found.sources[1] * 32768, AUDIO["b"][:1_280])
    assert found.scale == 1.0


def test_order_of_the_voices_does_not_change_the_mixture():
    one, other = source("a", 0, 2.0), source("b", 640, -1.0)
    there = render(recipe(one, other), AUDIO.__getitem__)
    back = render(recipe(other, one), AUDIO.__getitem__)
    assert np.array_equal(there.mixture, back.mixture)
    assert np.array_equal(there.sources, back.sources[::-1])


@pytest.mark.parametrize("gain_db", [11.0, 17.0, 40.0])
def test_joint_scale_only_where_the_peak_is_too_high(gain_db):
    loud = recipe(source("a", 0, gain_db), source("b", 0, gain_db))
    found = render(loud, AUDIO.__getitem__)
    peak = max(np.abs(found.mixture).max(), np.abs(found.sources).max())
    if gain_db == 11.0:
        assert found.scale == 1.0
    else:
        assert found.scale < 1
        assert PEAK_LIMIT - 1e-3 < peak <= PEAK_LIMIT + 2 / 32768
        ratio = np.abs(found.sources[0]).sum() / np.abs(found.sources[1]).sum()
        plain = np.abs(AUDIO["a"][:1_280]).sum() / np.abs(AUDIO["b"][:1_280]).sum()
        assert ratio == pytest.approx(plain, rel=1e-3)


def test_scale_of_a_listed_recipe_is_used_as_it_stands():
    gains = [linear_gain(17.0)] * 2
    scale = joint_scale([AUDIO[k][:1_280].astype(float) for k in "ab"], gains)
    listed = recipe(source("a", 0, 17.0), source("b", 0, 17.0), scale=scale)
    drawn = recipe(source("a", 0, 17.0), source("b", 0, 17.0))
    assert render(listed, AUDIO.__getitem__).scale == scale
    assert np.array_equal(
        render(listed, AUDIO.__getitem__).mixture, render(drawn, AUDIO.__getitem__).mixture
    )


def test_window_beyond_the_sample_and_wrong_sound_are_refused():
    for start in (2_560, -640):
        with pytest.raises(ValueError, match="reaches beyond the 3200 samples of b"):
            render(recipe(source("a"), source("b", start)), AUDIO.__getitem__)
    with pytest.raises(ValueError, match="float64"):
        render(recipe(source("a"), source("b")), lambda key: AUDIO[key].astype(float))
