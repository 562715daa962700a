"""A store in memory whose lips follow the sound: what the tests of loading and training read.

Each speaker hums at an own pitch, on and off; mouth and brightness open with the loudness. So the
video tells which voice is wanted, and a model can learn it in seconds.
"""

import numpy as np

from avsep.mixing.protocols import draw_list
from avsep.mixing.training import TrainingDraw, TrainingList
from avsep.mixing.voices import Voice, VoiceTable, find_activity
from avsep.schema import SAMPLES_PER_FRAME, Landmarks
from avsep.shards.index import Index, IndexRow
from avsep.shards.index_table import mapped_form
from avsep.tables import table_of

SPLIT_OF = {"a": "train", "b": "train", "c": "train", "d": "train", "e": "val", "f": "val"}
PITCH_HZ = {"a": 180, "b": 320, "c": 560, "d": 900, "e": 250, "f": 700}


class SyntheticStore:
    def __init__(self, clips=3, num_frames=60, seed=0):
        rows, self._clips = [], {}
        for speaker, split in SPLIT_OF.items():
            for number in range(clips):
                key = f"{speaker}{number}"
                rng = np.random.default_rng([seed, ord(speaker), number])
                self._clips[key] = _clip(rng, PITCH_HZ[speaker], num_frames)
                rows.append(
                    IndexRow(
                        key=key,
                        shard=f"{split}-000000.tar",
                        clip_id=key,
                        corpus="x",
                        speaker=speaker,
                        group=speaker,
                        gender="",
                        split=split,
                        num_frames=num_frames,
                        multi_voice=False,
                        level_dbfs=-24.5,
                        audio_sha256=f"sha-{key}",
                        text="",
                    )
                )
        self.index = index_of(rows)

    def __contains__(self, key):
        return key in self._clips

    def row(self, key):
        return next(row for row in self.index if row.key == key)

    def num_frames(self, key):
        return len(self.lips(key))

    def audio_window(self, key, start, count):
        return self.audio(key)[start : start + count]

    def lips_window(self, key, first, count):
        return self.lips(key)[first : first + count]

    def landmark_window(self, key, first, count):
        whole = self.landmarks(key)
        return whole.points[first : first + count], whole.valid[first : first + count]

    def audio(self, key):
        return self._clips[key][0]

    def lips(self, key):
        return self._clips[key][1]

    def landmarks(self, key):
        return self._clips[key][2]

    def voices(self, split):
        rows = [row for row in self.index if row.split == split]
        found = {row.key: find_activity(self.audio(row.key)) for row in rows}
        return tuple(
            Voice(
                key=row.key,
                speaker=row.speaker,
                group=row.speaker,
                gender="",
                num_frames=row.num_frames,
                level_dbfs=found[row.key][0],
                sha256=row.audio_sha256,
                active=found[row.key][1],
            )
            for row in rows
        )

    def draw(self, num_frames, protocol="strict-2mix"):
        listed = TrainingList(
            protocol=protocol,
            version=1,
            seed=0,
            num_samples=num_frames * SAMPLES_PER_FRAME,
            min_activity=0.2,
            voices=self.voices("train"),
        )
        return TrainingDraw(listed, self.audio)

    def val(self, count, num_frames):
        table = VoiceTable(self.voices("val"), num_frames * SAMPLES_PER_FRAME, 0.2)
        return draw_list(table, self.audio, split="val", seed=0, count=count)


def index_of(rows):
    """Rows as the index that a real store maps."""
    return Index(mapped_form(table_of(list(rows), IndexRow)))


def _clip(rng, pitch_hz, num_frames):
    steps = rng.uniform(0, 1, num_frames // 5 + 2) > 0.4
    steps[rng.integers(1, 4)] = True
    loud = np.interp(np.arange(num_frames) / 5, np.arange(len(steps)), steps.astype(float))
    time_s = np.arange(num_frames * SAMPLES_PER_FRAME) / 16000
    hum = sum(np.sin(2 * np.pi * pitch_hz * k * time_s + rng.uniform(0, 6)) / k for k in (1, 2, 3))
    audio = np.repeat(loud, SAMPLES_PER_FRAME) * hum * 0.1
    lips = np.full((num_frames, 96, 96), 60.0)
    lips[:, 32:64, 32:64] += 150 * loud[:, None, None]
    lips += rng.normal(0, 4, lips.shape)
    face = _face()[None] + rng.normal(0, 0.2, (num_frames, 68, 3))
    face[:, 55:60, 1] += 6 * loud[:, None]
    face[:, 65:68, 1] += 6 * loud[:, None]
    landmarks = Landmarks(
        points=face.astype(np.float16),
        valid=np.ones(num_frames, np.uint8),
        score=np.ones(num_frames, np.float16),
        box=np.zeros((num_frames, 4), np.float32),
        to_mean_face=np.zeros((num_frames, 2, 3), np.float32),
        crop_xy=np.zeros((num_frames, 2), np.float32),
    )
    return (
        np.rint(audio * 32767).astype(np.int16),
        np.clip(lips, 0, 255).astype(np.uint8),
        landmarks,
    )


def _face():
    """Sixty-eight places that no turn maps onto each other."""
    rng = np.random.default_rng(99)
    return rng.uniform([50, 40, -30], [170, 180, 30], (68, 3))
