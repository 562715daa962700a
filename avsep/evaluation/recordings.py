"""Recorded mixtures as a test: one sound, a video per speaker, and clean references or none.

The layout is that of the public real-world enhancement challenges: folders with `mix.wav`,
`s1.mp4`, `s2.mp4`, where there are references `s1.wav`, `s2.wav`, and landmarks in `s1.pkl`, which
the restricted reader of `avsep.faces` reads. Pictures and sounds of a recording start together.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsep.errors import ItemError, Reason, UsageError
from avsep.evaluation.bootstrap import bootstrap_generator, clustered_mean
from avsep.evaluation.both_faces import MARGIN_DB, margins_db, overlaps
from avsep.evaluation.metrics import signal_scores
from avsep.evaluation.perceptual import perceptual_scores
from avsep.evaluation.problems import Problem
from avsep.evaluation.publish import METRICS_FULL
from avsep.evaluation.quality import quality_scores
from avsep.evaluation.separate import SeparationModel
from avsep.evaluation.summary import figure_values
from avsep.extraction.clip import clip_samples
from avsep.extraction.config import ExtractionConfig
from avsep.faces.timing import StepTimer
from avsep.files import files_below, settings_hash, sha256_file, write_json, write_jsonl
from avsep.media.decode import read_audio
from avsep.media.join_sound import join_sound
from avsep.media.probe import probe
from avsep.processes import default_workers, map_items
from avsep.schema import SAMPLES_PER_FRAME, Clip, Cues, Sample

MIX = "mix.wav"
MAX_S = 120.0  # of a recording; a model separates it in one go
MIN_FRAMES = 25
PREPARE_TIMEOUT_S = 600.0
WITH_REFERENCE = ("si_snr", "sdr", "pesq", "stoi", "estoi")
_VIDEO = re.compile(r"s(\d)\.mp4")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recorded mixture.

    Attributes:
        name: its folder, relative to the set.
        folder: path of its folder.
        voices: names of the speakers with a video: `s1`, `s2`.
    """

    name: str
    folder: Path
    voices: tuple[str, ...]

    def state(self) -> str:
        """Hash of the names and contents of its files.

        Raises:
            CheckError: its folder or a file cannot be read.
        """
        paths = {name: self.folder / name for name in files_below(self.folder)}
        return settings_hash({n: sha256_file(p) for n, p in paths.items() if p.is_file()})


def find_recordings(root: Path) -> list[Recording]:
    """The recordings in a folder, sorted by name.

    Raises:
        UsageError: there are none, or one has a sound and no video.
        CheckError: a folder cannot be read.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder of recordings.")
    names: dict[str, set[str]] = {}
    for file in files_below(root):
        folder, _, name = file.rpartition("/")
        names.setdefault(folder, set()).add(name)
    found = []
    for folder, files in sorted(names.items()):
        if MIX not in files:
            continue
        voices = tuple(sorted(f"s{m[1]}" for m in map(_VIDEO.fullmatch, files) if m))
        if not voices:
            raise UsageError(f"{root / folder} has {MIX} and no video s1.mp4.")
        found.append(Recording(name=folder, folder=root / folder, voices=voices))
    if not found:
        raise UsageError(f"{root} has no folders with {MIX} and s1.mp4.")
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A recording as a model takes it: N samples at 16 kHz and F frames of all voices.

    Attributes:
        mixture: (N,) float32.
        references: the clean voices by name, (N,) float32; those that there are.
        cues: the video of each voice by name, without a batch axis.
    """

    mixture: np.ndarray
    references: Mapping[str, np.ndarray]
    cues: Mapping[str, Cues]


def prepare(recording: Recording) -> Prepared:
    """Find the faces of a recording and cut all to the span in which every face is seen.

    Raises:
        ItemError: a file is damaged, a face is not found, or the faces are hardly seen together.
    """
    samples: dict[str, Sample] = {}
    sounds: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory(prefix="avsep-recording-") as folder:
        for voice in recording.voices:
            joined = Path(folder) / f"{voice}.mov"
            video = recording.folder / f"{voice}.mp4"
            join_sound(video, recording.folder / MIX, joined)
            samples[voice] = _longest_face(recording, voice, joined)
            reference = recording.folder / f"{voice}.wav"
            if reference.is_file():
                join_sound(video, reference, joined)
                first, count = samples[voice].meta["first_frame"], samples[voice].num_frames
                total = (first + count) * SAMPLES_PER_FRAME
                sounds[voice] = read_audio(joined, 0.0, total)
    start = max(sample.meta["first_frame"] for sample in samples.values())
    stop = min(s.meta["first_frame"] + s.num_frames for s in samples.values())
    if stop - start < MIN_FRAMES:
        raise ItemError(
            Reason.FACE_TOO_SHORT,
            f"all faces are seen together for {max(0, stop - start)} frames; {MIN_FRAMES} are"
            " needed.",
        )
    span = slice(start * SAMPLES_PER_FRAME, stop * SAMPLES_PER_FRAME)
    first = samples[recording.voices[0]]
    offset = first.meta["first_frame"] * SAMPLES_PER_FRAME
    return Prepared(
        mixture=_floats(first.audio[span.start - offset : span.stop - offset]),
        references={voice: _floats(sound[span]) for voice, sound in sounds.items()},
        cues={
            voice: _cut(s, start - s.meta["first_frame"], stop - start)
            for voice, s in samples.items()
        },
    )


def score_recordings(
    model: SeparationModel,
    recordings: Sequence[Recording],
    *,
    device: str = "cpu",
    quality: Sequence[str] = (),
    workers: int | None = None,
) -> Iterator[tuple[Recording, list[dict[str, Any]] | ItemError]]:
    """Score recordings as `score_recording` does; yields each with its rows, or why it has none.

    Args:
        model: see `score_recording`, as `device` and `quality`.
        recordings: the recordings; they come in any order.
        device: of the model.
        quality: measures without a reference.
        workers: processes that find the faces; None for one per core, 0 for none.
    """
    workers = default_workers() if workers is None else workers
    for recording, ready in map_items(
        prepare, recordings, workers=workers, timeout_s=PREPARE_TIMEOUT_S
    ):
        if isinstance(ready, ItemError):
            yield recording, ready
        else:
            rows = score_recording(model, recording.name, ready, device=device, quality=quality)
            yield recording, rows


def score_recording(
    model: SeparationModel,
    name: str,
    ready: Prepared,
    *,
    device: str = "cpu",
    quality: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Ask for each face of a recording and score what the model gives.

    Args:
        model: the model in eval mode, on `device`.
        name: name of the recording.
        ready: the recording.
        device: `cpu` or `cuda`.
        quality: measures without a reference, of `avsep.evaluation.quality.MEASURES`.

    Returns:
        One row per voice: `recording`, `voice`, and the scores by name; those that cannot be
        computed are left out, and `problems` says why.
    """
    estimates = {v: _estimate(model, ready.mixture, c, device) for v, c in ready.cues.items()}
    voices = list(estimates)
    stacked = np.stack([estimates[voice] for voice in voices])
    together = dict(zip(voices, overlaps(stacked), strict=True))
    margins: dict[str, float] = {}
    if set(voices) <= ready.references.keys() and len(voices) > 1:
        sources = np.stack([ready.references[voice] for voice in voices])
        margins = dict(zip(voices, margins_db(stacked, sources), strict=True))
    unprocessed, _ = quality_scores(ready.mixture, quality)
    rows = []
    for voice in voices:
        scores: dict[str, float] = {"overlap": together[voice]}
        problems: dict[str, Problem] = {}
        if voice in ready.references:
            target = ready.references[voice]
            own, problems = _with_reference(estimates[voice], target)
            before, _ = _with_reference(ready.mixture, target)
            scores |= own | {f"{name}_mixture": value for name, value in before.items()}
            for name, improved in (("si_snr", "si_snri"), ("sdr", "sdri")):
                scores[improved] = own[name] - before[name]
            scores["margin_db"] = margins.get(voice, float("nan"))
        judged, refused = quality_scores(estimates[voice], quality)
        scores, problems = scores | judged, problems | refused
        scores |= {f"{name}_mixture": value for name, value in unprocessed.items()}
        rows.append(
            {
                "recording": name,
                "voice": voice,
                "seconds": round(len(ready.mixture) / 16_000, 2),
                **{name: round(v, 4) for name, v in scores.items() if np.isfinite(v)},
                **({"problems": {k: str(v) for k, v in problems.items()}} if problems else {}),
            }
        )
    return rows


def summarise_recordings(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over all voices, over recordings with all faces right, and over those made worse.

    Args:
        rows: rows of `score_recording`.

    Returns:
        `recordings`, `voices` and `with_reference`, which are numbers of them, and `figures`: a
        mean by name with its interval, resampled by recording, as in `metrics_full.json` of an
        evaluation.
    """
    names = {n for row in rows for n, v in row.items() if isinstance(v, float)} - {"seconds"}
    values = {
        name: [(row["recording"], row[name]) for row in rows if name in row] for name in names
    }
    by_recording: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_recording.setdefault(row["recording"], []).append(row)
    # What lacks a score although it has a reference is a silent or broken estimate.
    lowest = float("-inf")
    values["both_right"] = [
        (name, float(all(row.get("margin_db", lowest) >= MARGIN_DB for row in voices)))
        for name, voices in by_recording.items()
        if len(voices) > 1 and all("si_snr_mixture" in row for row in voices)
    ]
    values["worse"] = [
        (row["recording"], float(row.get("si_snri", lowest) < 0))
        for row in rows
        if "si_snr_mixture" in row
    ]
    figures = {}
    for name, found in sorted(values.items()):
        if found:
            recordings, scores = zip(*found, strict=True)
            generator = bootstrap_generator(0, f"recordings.{name}")
            mean = clustered_mean(scores, recordings, generator=generator)
            figures[name] = figure_values(mean)
    return {
        "recordings": len(by_recording),
        "voices": len(rows),
        "with_reference": len(values["worse"]),
        "figures": figures,
    }


def publish_recordings(
    directory: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    model: str,
    failed: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Write `scores.jsonl`, `metrics.json` and, with intervals, `metrics_full.json`.

    Args:
        directory: the folder to write to.
        rows: rows of `score_recording`, of the recordings in any order.
        model: name of the model.
        failed: `recording` and `reason` of those that could not be scored.

    Returns:
        Content of `metrics.json`: numbers of recordings and voices, and the means.
    """
    rows = sorted(rows, key=lambda row: str(row["recording"]))  # voices stay in order
    write_jsonl(directory / "scores.jsonl", rows)
    found = summarise_recordings(rows)
    figures = found.pop("figures")
    head = {"model": model, **found, "failed": sorted(failed, key=lambda one: one["recording"])}
    write_json(directory / METRICS_FULL, head | {"figures": figures})
    means = {name: round(figure["mean"], 4) for name, figure in figures.items()}
    write_json(directory / "metrics.json", head | means)
    return head | means


def _with_reference(
    estimate: np.ndarray, target: np.ndarray
) -> tuple[dict[str, float], dict[str, Problem]]:
    pair = torch.from_numpy(estimate), torch.from_numpy(target)
    values, problems = signal_scores(*pair, ["si_snr", "sdr"], others=torch.zeros(0, len(target)))
    more, odd = perceptual_scores(*pair)
    return values | more, problems | odd


def _longest_face(recording: Recording, voice: str, path: Path) -> Sample:
    """The face that is seen longest in the video of a speaker, with the sound of the mixture."""
    info = probe(path)
    if not info.has_video or not info.has_audio:
        raise ItemError(Reason.UNDECODABLE, f"{voice} of {recording.name} cannot be decoded.")
    if info.end_s > MAX_S:
        raise ItemError(Reason.TOO_LONG, f"it lasts {info.end_s:.0f} s; at most {MAX_S:.0f} s.")
    clip = Clip(
        clip_id="recording", corpus="recordings", speaker=voice, group=voice, gender="",
        split="test", path=path.name, sha256="", size_bytes=0, kept=True, end_s=info.end_s,
        width=info.width, height=info.height, fps=info.fps, origin=voice,
    )  # fmt: skip
    config = ExtractionConfig()
    if (recording.folder / f"{voice}.pkl").is_file():
        options = {"root": str(recording.folder), "made_by": "the recordings"}
        config = ExtractionConfig(backend="imported", backend_options=options)
    found = clip_samples(path, clip, config, StepTimer())
    return max(found, key=lambda sample: sample.num_frames)


def _estimate(model: SeparationModel, mixture: np.ndarray, cues: Cues, device: str) -> np.ndarray:
    def batch(values: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values))[None].to(device)

    seen = Cues(lips=batch(cues.lips), landmarks=batch(cues.landmarks), valid=batch(cues.valid))
    with torch.inference_mode():
        return model.estimate(batch(mixture), seen)[0].float().cpu().numpy()


def _cut(sample: Sample, first: int, count: int) -> Cues:
    span = slice(first, first + count)
    return Cues(
        lips=sample.lips[span],
        landmarks=sample.landmarks.points[span].astype(np.float32),
        valid=sample.landmarks.valid[span],
    )


def _floats(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / np.float32(32768)
