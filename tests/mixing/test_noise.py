"""Noise under a list: its level, its licence, its file beside the list, and nothing else moved."""

import numpy as np
import pytest
import soundfile

from avsep.errors import CheckError
from avsep.files import read_jsonl, write_jsonl
from avsep.mixing.config import NoiseConfig
from avsep.mixing.noise import add_noise, noise_files, write_excerpt
from avsep.mixing.published_protocols import power_dbfs
from avsep.mixing.recipes import content_id, read_recipes, write_recipes
from avsep.mixing.render import FULL_SCALE, render
from avsep.schema import MixtureRecipe, SourceRecipe

SAMPLES = 16_000
RNG = np.random.default_rng(0)
AUDIO = {key: RNG.normal(0, 1_500, 3 * SAMPLES).astype(np.int16) for key in "ab"}
CONFIG = NoiseConfig(folder="noise", licence="CC0-1.0", min_snr_db=3.0, max_snr_db=3.0)


def recipe(number: int = 0) -> MixtureRecipe:
    sources = tuple(
        SourceRecipe(
            key=key, speaker=key, group=key, gender="", start=640 * number, gain_db=gain,
            level_db=-26.8,
        )
        for key, gain in (("a", 1.0), ("b", -1.0))
    )  # fmt: skip
    made = MixtureRecipe(
        mixture_id="", protocol="strict-2mix", version=1, seed=0, num_samples=SAMPLES, scale=1.0,
        sources=sources,
    )  # fmt: skip
    return MixtureRecipe(**(vars(made) | {"mixture_id": content_id("test", made)}))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "noise"
    path.mkdir()
    for number in range(8):
        rate_hz, seconds = ((16_000, 3.0), (8_000, 0.4))[number % 2]
        sound = np.random.default_rng(number).normal(0, 0.05, (round(rate_hz * seconds), 2))
        soundfile.write(path / f"{number}.wav", sound, rate_hz)
    return path


def noisy(folder, number=0, config=CONFIG):
    files = noise_files(folder, "test")
    return add_noise(
        recipe(number), AUDIO.__getitem__, files, folder=folder, split="test", config=config
    )


def test_noise_lies_at_its_level_under_voices_that_stay_as_they_were(folder, tmp_path):
    made = [noisy(folder, number) for number in range(6)]
    for one, excerpt in made:
        write_excerpt(tmp_path, one, excerpt)
    write_recipes(tmp_path / "test.jsonl", [one for one, _ in made])
    read = read_recipes(tmp_path / "test.jsonl")
    for one, number in zip(read, range(6), strict=True):
        assert one.protocol == "strict-2mix+noise"
        assert one.noise.licence == "CC0-1.0"
        with_noise, without = render(one, AUDIO.__getitem__), render(recipe(number), AUDIO.get)
        np.testing.assert_array_equal(with_noise.sources, without.sources)
        total = with_noise.sources.sum(axis=0) + with_noise.noise
        np.testing.assert_array_equal(with_noise.mixture, total)
        heard = np.rint(with_noise.noise * FULL_SCALE).astype(np.int16)
        assert power_dbfs(heard) == pytest.approx(-26.8 - 3.0, abs=0.05)
    assert len({one.noise.source for one in read}) > 1
    assert [one.mixture_id for one in read] == [one.mixture_id for one, _ in made]


def test_loud_noise_scales_voices_and_noise_together(folder, tmp_path):
    loud = NoiseConfig(folder="noise", licence="x", min_snr_db=-25, max_snr_db=-25)
    one, excerpt = noisy(folder, config=loud)
    assert one.scale < 1
    write_excerpt(tmp_path, one, excerpt)
    write_recipes(tmp_path / "test.jsonl", [one])
    (read,) = read_recipes(tmp_path / "test.jsonl")
    assert np.abs(render(read, AUDIO.get).mixture).max() <= 0.99


def test_val_and_test_take_their_noise_from_different_files(folder):
    val, test = (set(noise_files(folder, split)) for split in ("val", "test"))
    assert val
    assert test
    assert not val & test
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    assert noise_files(folder, "val") == noise_files(folder, "test")


def test_noise_that_has_changed_or_leads_elsewhere_is_refused(folder, tmp_path):
    one, excerpt = noisy(folder)
    write_recipes(tmp_path / "test.jsonl", [one])
    (read,) = read_recipes(tmp_path / "test.jsonl")
    with pytest.raises(ValueError, match="cannot be read"):
        render(read, AUDIO.get)
    write_excerpt(tmp_path, one, excerpt[::-1])
    with pytest.raises(ValueError, match="is not the noise of"):
        render(read, AUDIO.get)
    (values,) = read_jsonl(tmp_path / "test.jsonl")
    values["noise"]["path"] = "../secret.flac"
    write_jsonl(tmp_path / "test.jsonl", [values])
    with pytest.raises(CheckError, match="outside the folder of the list"):
        read_recipes(tmp_path / "test.jsonl")


def test_silence_no_sound_and_no_licence_are_refused(folder):
    for path in folder.iterdir():
        soundfile.write(path, np.zeros(20_000), 16_000)
    with pytest.raises(CheckError, match="hardly anything but silence"):
        noisy(folder)
    for path in list(folder.iterdir()):
        path.unlink()
        path.with_name(f"no-{path.name}").write_bytes(b"no sound")
    with pytest.raises(CheckError, match="cannot be read as sound"):
        noisy(folder)
    for path in list(folder.iterdir()):
        path.unlink()
    with pytest.raises(CheckError, match="holds no noise"):
        noise_files(folder, "val")
    with pytest.raises(ValueError, match="licence is empty"):
        NoiseConfig(folder="noise")
