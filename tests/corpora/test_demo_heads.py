import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest

from avsep.corpora.demo import kernel, visemes
from avsep.corpora.demo.corpus import DemoClip, load_head, talk
from avsep.corpora.demo.motion import draw_motion, draw_scene
from avsep.corpora.demo.render import Renderer
from avsep.corpora.demo.voices import load_voice
from avsep.media.encode import write_mp4
from avsep.schema import FPS

SIZE = 64
CLIP = DemoClip(speaker=6, number=4)


def pictures(clip=CLIP, *, seed=0, num_frames=3, size=SIZE) -> np.ndarray:
    prepared = talk(clip, seed=seed, size=size, num_frames=num_frames)
    return np.stack([picture for picture, _ in prepared.frames])


def openings(clip) -> np.ndarray:
    prepared = talk(clip, seed=0, size=SIZE)
    return Renderer(load_head(0, clip.speaker), SIZE).openings(prepared.weights)


@pytest.mark.slow
def test_same_seed_gives_the_same_frames_in_another_process():
    script = (
        "import hashlib; from tests.corpora.test_demo_heads import pictures;"
        "print(hashlib.sha256(pictures().tobytes()).hexdigest())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(pictures().tobytes()).hexdigest()


@pytest.mark.slow
def test_other_seeds_and_other_clips_give_other_pictures():
    first = pictures(num_frames=1)
    assert not np.array_equal(first, pictures(seed=1, num_frames=1))
    other = DemoClip(speaker=CLIP.speaker, number=5)
    assert not np.array_equal(first, pictures(other, num_frames=1))


@pytest.mark.slow
def test_clip_files_are_byte_identical_every_time(tmp_path):
    # At full size and length: x264 once differed in half of such files, and in no short one.
    prepared = talk(DemoClip(speaker=6, number=3), seed=0)
    frames = [picture for picture, _ in prepared.frames]
    contents = set()
    for _ in range(6):
        write_mp4(tmp_path / "a.mp4", frames, prepared.audio)
        contents.add((tmp_path / "a.mp4").read_bytes())
    assert len(contents) == 1


@pytest.mark.slow
def test_frames_come_with_the_opening_of_the_lips():
    prepared = talk(CLIP, seed=0, size=SIZE, num_frames=5)
    drawn = [opening for _, opening in prepared.frames]
    np.testing.assert_array_equal(drawn, openings(CLIP)[:5])


@pytest.mark.parametrize("speaker", [6, 7])
@pytest.mark.slow
def test_lips_close_on_p_b_m_and_open_on_vowels(speaker):
    closed, opened, paused = [], [], []
    for number in range(6):
        clip = DemoClip(speaker=speaker, number=number)
        driven, voice = openings(clip), load_voice(speaker)
        for span in visemes.segments(voice.phonemes[number], misaki=voice.misaki):
            middle_s = (span.start_s + span.end_s) / 2 - visemes.LEAD_S
            at = driven[min(max(int(middle_s * FPS), 0), len(driven) - 1)]
            if span.viseme == "PP":
                closed.append(at)
            elif span.viseme in {"aa", "ae"}:
                opened.append(at)
            elif span.viseme == "sil" and span.end_s - span.start_s > 0.2:
                paused.append(at)
    assert len(closed) > 10
    assert len(opened) > 10
    assert np.mean(closed) < 0.2 * np.mean(opened)
    assert all(opening < 0.2 * np.mean(opened) for opening in paused)


@pytest.mark.parametrize("speaker", [6, 7])
def test_the_opening_of_the_lips_follows_the_loudness_within_one_frame(speaker):
    from tests.corpora.test_demo_corpus import best_lag

    loud, driven = [], []
    for number in range(12):
        prepared = talk(DemoClip(speaker=speaker, number=number), seed=0, size=SIZE)
        loud.append(visemes.loudness(prepared.audio, 16_000, FPS, len(prepared.weights)))
        driven.append(Renderer(load_head(0, speaker), SIZE).openings(prepared.weights))
    assert abs(best_lag(np.stack(driven), np.stack(loud))) <= 1


def test_the_jaw_moves_the_mouth_and_leaves_the_forehead():
    head = load_head(0, 7)
    rng = np.random.default_rng(0)
    motion, scene = draw_motion(rng, np.ones(2), FPS), draw_scene(rng, 2, 96)
    motion = replace(motion, **{name: curve[[0, 0]] for name, curve in vars(motion).items()})
    scene = replace(scene, noise=scene.noise * 0)
    weights = np.zeros((2, len(visemes.FACE_UNITS)))
    weights[1, visemes.FACE_UNITS.index("jawOpen")] = 0.6
    (shut, no_gap), (wide, gap) = Renderer(head, 96).frames(weights, motion, scene)
    assert gap > no_gap + 0.1
    changed = np.abs(wide.astype(int) - shut).max(-1) > 8
    assert not changed[:40].any()
    rows, columns = np.nonzero(changed[50:])
    assert len(rows) > 100
    assert abs(columns.mean() - 48) < 10


def test_kernels_compile_where_numba_cannot_cache(monkeypatch):
    real = numba.njit

    def no_locator(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", no_locator)
    assert kernel.kernel(lambda x: x + 1)(1) == 2
