"""Frame by frame: the same voices, a bounded time later, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from avsep.errors import UsageError
from avsep.separation import SeparateConfig, Separator
from tests.support.echo import Echo, noise, pictures, two
from tests.support.face_scene import ColourBackend, Pose

CONFIG = SeparateConfig(window_s=2.0)


def run(frames, audio, model=None):
    """The voices by speaker, and the longest wait of a sample in samples."""
    live = Separator(model or Echo(), CONFIG, ColourBackend()).live()
    voices: dict[int, np.ndarray] = {}
    longest, done = 0, 0

    def put(chunks):
        nonlocal done
        for chunk in chunks:
            voice = voices.setdefault(chunk.speaker, np.zeros(len(audio), np.float32))
            voice[chunk.start : chunk.start + len(chunk.samples)] = chunk.samples
            done = max(done, chunk.start + len(chunk.samples))

    for index, frame in enumerate(frames):
        put(live.feed(frame, audio[index * 640 : (index + 1) * 640]))
        longest = max(longest, (index + 1) * 640 - done)
    put(live.finish())
    return voices, longest, live


@pytest.mark.slow
def test_every_sample_comes_out_within_the_stated_latency():
    audio = noise(120 * 640)
    voices, longest, live = run(pictures(two, 120), audio)
    assert sorted(voices) == [1, 2]
    for voice in voices.values():
        assert np.abs(voice - audio).max() < 1e-6
    assert longest <= live.latency_s * 16_000
    assert live.latency_s < 2
    assert live.real_time_factor > 0


@pytest.mark.slow
def test_a_face_that_leaves_is_faded_and_comes_back_as_itself():
    def poses(index):
        return [Pose(0, 90, 110, 80), *([] if 60 <= index < 130 else [Pose(1, 230, 120, 70)])]

    audio = noise(200 * 640)
    voices, _, _ = run(pictures(poses, 200), audio)
    assert sorted(voices) == [1, 2]
    away = voices[1] if np.abs(voices[1]).sum() < np.abs(voices[2]).sum() else voices[2]
    assert np.abs(away[: 55 * 640] - audio[: 55 * 640]).max() < 1e-6
    assert not away[100 * 640 : 120 * 640].any()
    assert np.abs(away[150 * 640 :] - audio[150 * 640 :]).max() < 1e-6


@pytest.mark.slow
def test_what_is_kept_does_not_grow():
    live = Separator(Echo(), CONFIG, ColourBackend()).live()
    audio = noise(640)
    frames = pictures(two, 4)
    sizes = []
    frames = [*frames, pictures(lambda _: [Pose(0, 90, 110, 80)], 1)[0]]
    for index in range(300):
        live.feed(frames[4 if index > 60 else index % 4], audio)  # one face goes for good
        sizes.append(len(live._sound) + sum(s.lips.size for s in live._speakers))
    assert max(sizes[200:]) <= max(sizes[100:200])


def test_a_backend_of_batches_is_refused():
    with pytest.raises(UsageError, match="batches"):
        Separator(Echo(), CONFIG, ColourBackend(window=4)).live()
