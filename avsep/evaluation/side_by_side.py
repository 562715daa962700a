"""Test whether each voice is assigned to the right face: two clips side by side in one video.

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
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from avsep.separation import Separator

LEVEL = 0.05  # RMS of each source
MARGIN_DB = 3.0  # an output must be this much closer to its own source than to the other


@dataclass(frozen=True)
class Pair:
    """The left and the right clip, as paths relative to the raw folder."""

    left: str
    right: str


@dataclass(frozen=True)
class PairResult:
    """The result of separating one pair.

    Attributes:
        pair: the two clips.
        speakers: number of speakers found in the video.
        own_db: SI-SNR of each output against its own source, in dB.
        other_db: SI-SNR of each output against the other source, in dB.
    """

    pair: Pair
    speakers: int
    own_db: tuple[float, ...] = ()
    other_db: tuple[float, ...] = ()

    @property
    def right(self) -> bool:
        """Whether there are two voices, each closer to its own source by `MARGIN_DB`."""
        gaps = [own - other for own, other in zip(self.own_db, self.other_db, strict=True)]
        return self.speakers == 2 and min(gaps, default=-np.inf) >= MARGIN_DB


def listed_pairs(workspace: Workspace, count: int, seed: int = 0) -> list[Pair]:
    """Pairs of test clips of different speakers; the same seed gives the same pairs."""
    rows = read_table(workspace.raw_table).to_pylist()
    clips = sorted((row["path"], row["speaker"]) for row in rows if row["split"] == "test")
    pairs = [(a, b) for a, who in clips for b, other in clips if who != other]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [Pair(*pairs[index]) for index in chosen]


def render_pair(raw: Path, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The frames of a pair, (F, H, 2 W, 3) uint8, and its two sources, (2, N) float32."""
    from avsep.media.decode import read_audio, read_frames
    from avsep.media.probe import probe

    paths = [raw / pair.left, raw / pair.right]
    infos = [probe(path) for path in paths]
    frames = min(round((info.end_s - info.start_s) * FPS) for info in infos)
    pictures = [
        np.stack(list(read_frames(path, info.start_s, frames)))
        for path, info in zip(paths, infos, strict=True)
    ]
    sounds = [
        read_audio(path, info.start_s, frames * SAMPLES_PER_FRAME) / np.float32(32768)
        for path, info in zip(paths, infos, strict=True)
    ]
    sources = np.stack(sounds)
    # Equally loud, as in the mixtures of training and evaluation (0 dB).
    sources *= LEVEL / np.sqrt(np.mean(sources**2, axis=1, keepdims=True) + 1e-12)
    return np.concatenate(pictures, axis=2), sources


def separate_pairs(separator: Separator, raw: Path, pairs: Sequence[Pair]) -> Iterator[PairResult]:
    """Separate each pair and compare the voices, from left to right, with their sources."""
    import torch

    from avsep.evaluation.metrics import si_snr

    for pair in pairs:
        pictures, sources = render_pair(raw, pair)
        mixture = sources.sum(axis=0)
        separated = separator.separate((pictures, mixture, RATE_HZ))
        voices = [torch.from_numpy(np.asarray(speaker.voice)) for speaker in separated.speakers]
        if len(voices) != 2:
            yield PairResult(pair, len(voices))
            continue
        truth = torch.from_numpy(sources)
        own = tuple(round(float(si_snr(voices[k], truth[k])), 2) for k in (0, 1))
        other = tuple(round(float(si_snr(voices[k], truth[1 - k])), 2) for k in (0, 1))
        yield PairResult(pair, 2, own, other)


def main() -> None:
    """Separate the pairs and print how many come out right."""
    from avsep.separation import Separator

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    workspace = Workspace(arguments.root.resolve())
    separator = Separator.load(arguments.model)
    pairs = listed_pairs(workspace, arguments.count)
    results: list[PairResult] = []
    started = time.monotonic()
    for result in separate_pairs(separator, workspace.raw, pairs):
        results.append(result)
        right = sum(one.right for one in results)
        print(
            f"{len(results)} of {len(pairs)}: {right} right, {time.monotonic() - started:.0f} s",
            json.dumps(asdict(result)),
            flush=True,
        )
    if arguments.out:
        write_json(arguments.out, [asdict(one) | {"right": one.right} for one in results])


if __name__ == "__main__":
    main()
