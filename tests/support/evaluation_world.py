"""Synthetic mixtures of two band-limited voices, and a project that holds some."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avsep.evaluation.items import EvaluationItem
from avsep.files import write_json
from avsep.media.pcm import pcm_sha256
from avsep.mixing.recipes import write_recipes
from avsep.schema import Cues, Landmarks, MixtureRecipe, Sample, SourceRecipe
from avsep.shards.codecs import encode_sample
from avsep.shards.index import row_of, write_index
from avsep.shards.manifest import write_manifest
from avsep.shards.writer import write_shard
from avsep.workspace import Workspace
from tests.support.band_separator import band_lips, band_voice


def make_item(number: int = 0, num_frames: int = 25) -> EvaluationItem:
    """A low and a high voice; speakers and genders vary with the number."""
    highs = (number % 2 == 1, number % 2 == 0)
    sources = np.stack(
        [band_voice(2 * number + i, high, num_frames) for i, high in enumerate(highs)]
    )
    recipe = MixtureRecipe(
        mixture_id=f"mix-{number:03d}",
        protocol="strict-2mix",
        version=1,
        seed=number,
        num_samples=640 * num_frames,
        scale=1.0,
        sources=tuple(
            SourceRecipe(
                key=f"clip{(number + i) % 4}-t0",
                speaker=f"s{(number + i) % 4}",
                group="heard" if (number + i) % 4 else "unheard",
                gender="fm"[(number + i) % 2],
                start=0,
                gain_db=0.0,
                level_db=-26.0,
            )
            for i in range(2)
        ),
    )
    return EvaluationItem(
        recipe=recipe,
        mixture=sources.sum(0),
        sources=sources,
        cues=tuple(make_cues(2 * number + i, high, num_frames) for i, high in enumerate(highs)),
    )


def make_sample(number: int, split: str, num_frames: int = 40) -> Sample:
    """A stored sample of a low (even number) or a high voice."""
    high = number % 2 == 1
    audio = np.round(band_voice(number, high, num_frames) * 20_000).astype(np.int16)
    key = f"clip{number:02d}-t0"
    ones = np.ones(num_frames, np.float16)
    landmarks = Landmarks(
        points=(224 * np.random.default_rng(number).random((num_frames, 68, 3))).astype(np.float16),
        valid=np.ones(num_frames, np.uint8),
        score=ones,
        box=np.tile(np.array([0.2, 0.2, 0.6, 0.6], np.float32), (num_frames, 1)),
        to_mean_face=np.tile(np.eye(2, 3, dtype=np.float32), (num_frames, 1, 1)),
        crop_xy=np.full((num_frames, 2), 80, np.float32),
    )
    meta = {
        "audio_sha256": pcm_sha256(audio),
        "backend": "none",
        "clip_id": f"clip{number:02d}",
        "corpus": "test",
        "gender": "fm"[number // 2 % 2],
        "group": f"voice-{number // 2}",
        "key": key,
        "level_dbfs": -26.0,
        "licence": "CC0-1.0",
        "multi_voice": False,
        "num_frames": num_frames,
        "num_samples": len(audio),
        "quality": {},
        "redistributable": True,
        "source": {},
        "speaker": f"s{number:02d}",
        "split": split,
        "text": "",
        "version": 1,
    }
    lips = band_lips(number, high, num_frames)
    return Sample(key=key, audio=audio, lips=lips, landmarks=landmarks, meta=meta)


def make_workspace(root: Path) -> Workspace:
    """Shards of 8 voices (6 for test), 7 test mixtures, and a run that only has its card."""
    workspace = Workspace(root)
    samples = [make_sample(n, "test" if n < 6 else "train") for n in range(7)]
    # A train speaker shares its base voice with a test speaker.
    samples[6].meta["group"] = "voice-0"
    encoded = [(s.key, encode_sample(s, "plain"), s.num_frames) for s in samples]
    workspace.shards.mkdir(parents=True)
    entry = write_shard(workspace.shards / "a-000000.tar", encoded, "plain")
    write_index(workspace.shards, [row_of(s.meta, entry.name) for s in samples])
    write_manifest(workspace.shards, [entry], "plain")
    by_number = dict(enumerate(samples))
    pairs = [(0, 1), (2, 3), (4, 5), (0, 3), (2, 5), (4, 1), (3, 4)]
    write_recipes(
        workspace.mixtures / "test.jsonl",
        [stored_recipe(i, [by_number[a], by_number[b]]) for i, (a, b) in enumerate(pairs)],
    )
    card = {"version": 1, "family": "vovit", "config": {}, "weights": "model.pt", "sha256": "0"}
    write_json(workspace.run("vovit") / "card.json", card)
    return workspace


def stored_recipe(number: int, samples: list[Sample]) -> MixtureRecipe:
    return MixtureRecipe(
        mixture_id=f"test-{number:03d}",
        protocol="strict-2mix",
        version=1,
        seed=number,
        num_samples=640 * 25,
        scale=1.0,
        sources=tuple(
            SourceRecipe(
                key=s.key,
                speaker=s.meta["speaker"],
                group=s.meta["group"],
                gender=s.meta["gender"],
                start=640 * (number + i),
                gain_db=float(i),
                level_db=-26.0,
                sha256=s.meta["audio_sha256"],
            )
            for i, s in enumerate(samples)
        ),
    )


def make_cues(seed: int, high: bool, num_frames: int) -> Cues:
    points = np.random.default_rng(seed).random((num_frames, 68, 3)).astype(np.float32)
    return Cues(
        lips=band_lips(seed, high, num_frames),
        landmarks=224 * points,
        valid=np.ones(num_frames, np.uint8),
    )
