"""Whether voices land on the right face: mixtures of two clips, shown side by side in one video.

python -m avsep.evaluation.side_by_side data/runs/dolphin --root . --out figures.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.files import read_table, write_json
from avsep.schema import SAMPLES_PER_FRAME
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from avsep.separation import Separator

LEVEL = 0.05  # RMS of each source
WANTED_DB = 3.0  # by which an output must be nearer to its own source than to the other


@dataclass(frozen=True)
class Pair:
    """Two clips by their paths under the raw folder: the left one and the right one."""

    left: str
    right: str


@dataclass(frozen=True)
class Outcome:
    """What came of a pair.

    Attributes:
        pair: the clips.
        speakers: found in the video.
        own_db: SI-SNR of each output and its own source.
        other_db: SI-SNR of each output and the other source.
    """

    pair: Pair
    speakers: int
    own_db: tuple[float, ...] = ()
    other_db: tuple[float, ...] = ()

    @property
    def right(self) -> bool:
        """Whether there are two voices, each nearer to its own source by `WANTED_DB`."""
        gaps = [own - other for own, other in zip(self.own_db, self.other_db, strict=True)]
        return self.speakers == 2 and min(gaps, default=-np.inf) >= WANTED_DB


def listed_pairs(workspace: Workspace, count: int, seed: int = 0) -> list[Pair]:
    """Pairs of test clips of different speakers, the same ones for the same seed."""
    rows = read_table(workspace.raw_table).to_pylist()
    clips = sorted((row["path"], row["speaker"]) for row in rows if row["split"] == "test")
    pairs = [(a, b) for a, who in clips for b, other in clips if who != other]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [Pair(*pairs[index]) for index in chosen]


def render_pair(raw: Path, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The pictures (F, H, 2 W, 3) uint8 of a pair, and its two sources (2, N) float32."""
    from avsep.media.decode import read_audio, read_frames
    from avsep.media.probe import probe

    paths = [raw / pair.left, raw / pair.right]
    infos = [probe(path) for path in paths]
    frames = min(round((info.end_s - info.start_s) * 25) for info in infos)
    pictures = [
        np.stack(list(read_frames(path, info.start_s, frames)))
        for path, info in zip(paths, infos, strict=True)
    ]
    sounds = [
        read_audio(path, info.start_s, frames * SAMPLES_PER_FRAME) / np.float32(32768)
        for path, info in zip(paths, infos, strict=True)
    ]
    sources = np.stack(sounds)
    # Equally loud, as in the mixtures that models are trained and evaluated with (0 dB).
    sources *= LEVEL / np.sqrt(np.mean(sources**2, axis=1, keepdims=True) + 1e-12)
    return np.concatenate(pictures, axis=2), sources


def try_pairs(separator: Separator, raw: Path, pairs: Sequence[Pair]) -> Iterator[Outcome]:
    """Separate each pair and compare the voices, from left to right, with the sources."""
    import torch

    from avsep.evaluation.metrics import si_snr

    for pair in pairs:
        pictures, sources = render_pair(raw, pair)
        mixture = sources.sum(axis=0)
        made = separator.separate((pictures, mixture, 16_000))
        voices = [torch.from_numpy(np.asarray(speaker.voice)) for speaker in made.speakers]
        if len(voices) != 2:
            yield Outcome(pair, len(voices))
            continue
        truth = torch.from_numpy(sources)
        own = tuple(round(float(si_snr(voices[k], truth[k])), 2) for k in (0, 1))
        other = tuple(round(float(si_snr(voices[k], truth[1 - k])), 2) for k in (0, 1))
        yield Outcome(pair, 2, own, other)


def main() -> None:
    """Try the pairs and print how many come out right."""
    from avsep.separation import Separator

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    workspace = Workspace(wanted.root.resolve())
    separator = Separator.load(wanted.model)
    pairs = listed_pairs(workspace, wanted.count)
    outcomes: list[Outcome] = []
    started = time.monotonic()
    for outcome in try_pairs(separator, workspace.raw, pairs):
        outcomes.append(outcome)
        right = sum(o.right for o in outcomes)
        print(
            f"{len(outcomes)} of {len(pairs)}: {right} right, {time.monotonic() - started:.0f} s",
            json.dumps(asdict(outcome)),
            flush=True,
        )
    if wanted.out:
        write_json(wanted.out, [asdict(outcome) | {"right": outcome.right} for outcome in outcomes])


if __name__ == "__main__":
    main()
