"""Noise under the mixtures of a list: `+noise` after the name of any protocol.

Noise comes from a folder of sound files; its licence is recorded with each mixture. The excerpt
that a mixture needs is written beside the list, so that the list is complete without the folder.
Val and test use different files if there are enough.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from avsep.errors import CheckError
from avsep.files import files_below, write_bytes
from avsep.media.pcm import encode_flac, pcm_sha256
from avsep.mixing.config import NoiseConfig
from avsep.mixing.hash_random import HashRandom
from avsep.mixing.published_protocols import power_dbfs
from avsep.mixing.recipes import MAX_GAIN_DB, NOISE_SUFFIX, content_id
from avsep.mixing.render import FULL_SCALE, PEAK_LIMIT, GetAudio, linear_gain, render
from avsep.mixing.voices import LEVEL_DIGITS
from avsep.schema import RATE_HZ, MixtureRecipe, NoiseRecipe, NoisyRecipe

VERSION = 1
FOLDER = "noise"  # of the excerpts, beside the lists
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3"})
MAX_FILE_S = 3600.0
_TRIES = 100


def noise_files(folder: Path, split: str) -> list[Path]:
    """The files of a folder that a split may use, sorted by name.

    Raises:
        CheckError: the folder has no sound files, or a part of it cannot be read.
    """
    found = (folder / file for file in files_below(folder))
    files = sorted(p for p in found if p.suffix.lower() in SOUNDS and p.is_file())
    if not files:
        raise CheckError(f"{folder} holds no noise: it has no {', '.join(sorted(SOUNDS))} file.")
    parity = int(split == "test")
    own = [
        p for p in files
        if hashlib.sha256(os.fsencode(p.relative_to(folder))).digest()[0] % 2 == parity
    ]  # fmt: skip
    return own if 0 < len(own) < len(files) else files


def noisy_list(
    recipes: Sequence[MixtureRecipe],
    get_audio: GetAudio,
    folder: Path,
    out: Path,
    *,
    split: str,
    config: NoiseConfig,
) -> list[MixtureRecipe]:
    """Add noise to the recipes of a list and write each excerpt of noise below `out`.

    Args:
        recipes: recipes without noise.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.
        folder: folder of noise.
        out: folder of the list.
        split: split of the list.
        config: levels and licence.

    Raises:
        CheckError: the folder holds no noise that can be used.
    """
    files = noise_files(folder, split)
    made: list[MixtureRecipe] = []
    for recipe in recipes:
        noisy, excerpt = add_noise(
            recipe, get_audio, files, folder=folder, split=split, config=config
        )
        write_excerpt(out, noisy, excerpt)
        made.append(noisy)
    return made


def add_noise(
    recipe: MixtureRecipe,
    get_audio: GetAudio,
    files: Sequence[Path],
    *,
    folder: Path,
    split: str,
    config: NoiseConfig,
) -> tuple[NoisyRecipe, np.ndarray]:
    """A recipe with noise, and the excerpt of noise as (N,) int16 at 16 kHz.

    Args:
        recipe: recipe without noise.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.
        files: noise files to draw from.
        folder: folder of the files; the recipe names them relative to it.
        split: split of the list.
        config: levels and licence.

    Raises:
        CheckError: the files hold hardly anything but silence, or cannot be read.
    """
    random = HashRandom("noise", VERSION, recipe.mixture_id)
    snr_db = config.min_snr_db + (config.max_snr_db - config.min_snr_db) * random.uniform()
    voices_db = sum(s.level_db + s.gain_db for s in recipe.sources) / len(recipe.sources)
    for _ in range(_TRIES):
        path = files[random.below(len(files))]
        sound = _read(path)
        start = random.below(max(1, len(sound) - recipe.num_samples + 1))
        excerpt = np.resize(sound[start:], recipe.num_samples)  # a short file is repeated
        level_db = power_dbfs(excerpt)
        gain_db = voices_db - snr_db - level_db
        if math.isfinite(level_db) and abs(gain_db) <= MAX_GAIN_DB:
            break
    else:
        raise CheckError(f"{folder} holds hardly anything but silence; give it other files.")
    sha256 = pcm_sha256(excerpt)
    noise = NoiseRecipe(
        path=f"{FOLDER}/{sha256[:16]}.flac",
        source=path.relative_to(folder).as_posix(),
        licence=config.licence,
        start=start,
        gain_db=round(gain_db, LEVEL_DIGITS),
        level_db=round(level_db, LEVEL_DIGITS),
        sha256=sha256,
    )
    quiet = render(recipe, get_audio)
    mixture = quiet.mixture + quiet.scale * linear_gain(noise.gain_db) * excerpt / FULL_SCALE
    peak = float(np.abs(mixture).max())
    values = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
    values |= {"protocol": recipe.protocol + NOISE_SUFFIX, "mixture_id": ""}
    # Slightly below the limit, because `render` rounds the noise once more.
    values["scale"] = quiet.scale * min(1.0, (PEAK_LIMIT - 1 / FULL_SCALE) / peak)
    noisy = NoisyRecipe(**values, noise=noise)
    return replace(noisy, mixture_id=content_id(split, noisy)), excerpt


def write_excerpt(folder: Path, recipe: NoisyRecipe, excerpt: np.ndarray) -> None:
    """Write the noise of a recipe beside its list."""
    write_bytes(folder / recipe.noise.path, encode_flac(excerpt))


@lru_cache(maxsize=8)
def _read(path: Path) -> np.ndarray:
    """A sound file as (samples,) int16 at 16 kHz, one channel."""
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            frames = int(min(file.frames, MAX_FILE_S * file.samplerate))
            sound = file.read(frames, dtype="float64", always_2d=True).mean(axis=1)
            rate_hz = file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise CheckError(f"{path} cannot be read as sound: {error}") from error
    if rate_hz != RATE_HZ:
        sound = soxr.resample(sound, rate_hz, RATE_HZ)
    if not len(sound) or not np.isfinite(sound).all():
        raise CheckError(f"{path} has no sound, or values that are not finite.")
    return np.rint(sound.clip(-1, 1) * (FULL_SCALE - 1)).astype(np.int16)
