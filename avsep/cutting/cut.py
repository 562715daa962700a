"""Cut one recording: find who speaks when, write the clips and the list of what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avsep.cutting.activity import Face, speech_frames, who_speaks
from avsep.cutting.config import CuttingConfig
from avsep.cutting.faces import find_faces
from avsep.cutting.framing import Frame, clip_frame
from avsep.cutting.spans import Span, What, find_spans
from avsep.errors import CheckError, ItemError, Reason
from avsep.faces.backends import FaceBackend
from avsep.faces.config import FacesConfig
from avsep.files import fresh_directory, read_json, settings_hash, write_json
from avsep.progress import StepProgress
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME
from avsep.settings import as_values

VERSION = 1  # increase it when the same settings give other clips
LIST = "cuts.json"


@dataclass(frozen=True, eq=False)
class CutRecording:
    """A recording that was cut.

    Attributes:
        folder: the folder of its clips.
        spans: every span, as in `cuts.json`.
    """

    folder: Path
    spans: list[dict[str, Any]]


def cut_recording(
    path: Path,
    out: Path,
    config: CuttingConfig,
    faces_config: FacesConfig,
    backend: FaceBackend,
    progress: StepProgress,
) -> CutRecording:
    """Cut one recording into `out/<name>/`, or find it cut already.

    `cuts.json` in that folder has every span of speech: clips with source, times in seconds of the
    source, face, score and file, and what was left out with the reason. It is written last.

    Args:
        path: the recording.
        out: folder of all recordings.
        config: what makes a clip.
        faces_config: settings of the tracking.
        backend: finds faces and landmarks.
        progress: shows the progress of tracking and of writing.

    Raises:
        ItemError: the recording cannot be decoded, or has no sound or no picture.
    """
    from avsep.media.decode import read_pictures
    from avsep.media.normalise import readable
    from avsep.media.probe import probe

    name = recording_name(path)
    folder = out / name
    status = path.stat()
    made_from = settings_hash(
        VERSION, status.st_size, status.st_mtime_ns, as_values(config), as_values(faces_config)
    )
    if (folder / LIST).is_file():
        before = _read_list(folder / LIST)
        if before.get("made_from") == made_from:
            return CutRecording(folder=folder, spans=before["spans"])
    with readable(path) as source:
        info = probe(source.path)
        if not info.has_video or not info.has_audio:
            missing = Reason.NO_AUDIO if info.has_video else Reason.NO_VIDEO
            raise ItemError(missing, "a recording needs pictures and sound.")
        num_frames = int((info.end_s - info.start_s) * FPS + 1e-6)
        if num_frames < config.min_s * FPS:
            raise ItemError(Reason.TOO_SHORT, f"it has {max(0, num_frames)} frames.")
        audio = read_sound(source.path, info.start_s, num_frames)
        pictures = read_pictures(source.path, info.start_s, num_frames)
        with progress(f"faces of {path.name}", num_frames) as advance:
            faces = find_faces(pictures, faces_config, backend, advance)
        labels = who_speaks(faces, speech_frames(audio), config)
        spans, frames = _framed(
            find_spans(labels, faces, audio, config), faces, config, (info.width, info.height)
        )
        fresh_directory(folder)
        files = [_file_name(name, span) if span.what == What.CLIP else "" for span in spans]
        pictures = read_pictures(source.path, info.start_s, num_frames)
        with progress(f"clips of {path.name}", num_frames) as advance:
            _write_clips(
                (picture.rgb for picture in pictures),
                [
                    (span, frame, folder / file)
                    for span, frame, file in zip(spans, frames, files, strict=True)
                    if frame
                ],
                audio,
                config,
                advance,
            )
    rows = [
        {
            "what": str(span.what),
            "source": str(path),
            "start_s": round(info.start_s + span.start / FPS, 3),
            "end_s": round(info.start_s + span.stop / FPS, 3),
            "face": span.face,
            "score": span.score,
            "file": file,
        }
        for span, file in zip(spans, files, strict=True)
    ]
    write_json(folder / LIST, {"made_from": made_from, "spans": rows})
    return CutRecording(folder=folder, spans=rows)


def cut_recordings(out: Path) -> list[CutRecording]:
    """All recordings that were cut into a folder, by this run or an earlier one, by name.

    Raises:
        CheckError: a list is damaged.
    """
    return [
        CutRecording(folder=path.parent, spans=_read_list(path)["spans"])
        for path in sorted(out.glob(f"*/{LIST}"))
    ]


def _read_list(path: Path) -> dict[str, Any]:
    found = read_json(path)
    spans = found.get("spans") if isinstance(found, dict) else None
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        raise CheckError(f"{path} is damaged: it does not list spans; remove its folder.")
    return dict(found)


def recording_name(path: Path) -> str:
    """A folder name for a recording; recordings of the same name in two folders differ."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:60] or "recording"
    return f"{plain}-{settings_hash(str(path.resolve()))[:8]}"


def read_sound(path: Path, start_s: float, num_frames: int) -> np.ndarray:
    """The sound of a recording, (640 T,) int16 at 16 kHz, read in constant memory besides it."""
    from avsep.media.decode import stream_audio

    audio = np.zeros(num_frames * SAMPLES_PER_FRAME, np.int16)
    count = 0
    for first_s, samples in stream_audio(path):
        at = round((first_s - start_s) * RATE_HZ) + count
        count += len(samples)
        low, high = max(at, 0), min(at + len(samples), len(audio))
        if low < high:
            audio[low:high] = samples[low - at : high - at]
    return audio


def _file_name(name: str, span: Span) -> str:
    return f"{name}-face{span.face:03d}-{span.start:06d}.mp4"


def _framed(
    spans: Sequence[Span], faces: Sequence[Face], config: CuttingConfig, size: tuple[int, int]
) -> tuple[list[Span], list[Frame | None]]:
    """The spans with the part of the picture of each clip; clips without one are left out."""
    kept: list[Span] = []
    frames: list[Frame | None] = []
    for span in spans:
        frame = None
        if span.what == What.CLIP:
            frame = clip_frame(
                faces[span.face],
                [face for number, face in enumerate(faces) if number != span.face],
                span.start,
                span.stop,
                margin=config.margin,
                width=size[0],
                height=size[1],
            )
            if frame is None:
                span = replace(span, what=What.FACES_TOO_CLOSE)
        kept.append(span)
        frames.append(frame)
    return kept, frames


def _write_clips(
    pictures: Iterator[Any],
    clips: Sequence[tuple[Span, Frame, Path]],
    audio: np.ndarray,
    config: CuttingConfig,
    advance: Any,
) -> None:
    """Write the clips in one pass over the pictures; only one is open at a time.

    Args:
        pictures: gives a function per frame that returns the picture (H, W, 3) uint8 RGB.
        clips: span, part of the picture and path of each, in order; they do not overlap.
        audio: sound of the whole recording.
        config: quality of the video.
        advance: called with the number of frames done.
    """
    from avsep.media.encode import open_mp4

    at = 0
    for span, frame, path in clips:
        for _ in range(at, span.start):
            next(pictures)
        sound = audio[span.start * SAMPLES_PER_FRAME : span.stop * SAMPLES_PER_FRAME]
        with open_mp4(path, sound, crf=config.crf) as writer:
            for _ in range(span.start, span.stop):
                picture = next(pictures)()
                part = picture[frame.top : frame.bottom, frame.left : frame.right]
                writer.write(np.ascontiguousarray(part))
        advance(span.stop - at)
        at = span.stop
    for _ in pictures:  # a damaged end is an error here too
        advance(1)


def write_speakers(path: Path, recordings: Sequence[CutRecording]) -> int:
    """Write the csv that `download.folder.csv` reads; returns the number of clips.

    A face is a speaker and the recording its group, so that two tracks of one person are never
    mixed with each other, and a recording stays in one split.
    """
    import csv
    import io

    from avsep.files import write_text

    text, count = io.StringIO(), 0
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "speaker", "group"])
    for recording in recordings:
        for row in recording.spans:
            if row["file"]:
                name = recording.folder.name
                table.writerow([f"{name}/{row['file']}", f"{name}-face{row['face']:03d}", name])
                count += 1
    write_text(path, text.getvalue())
    return count
