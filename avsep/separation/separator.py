"""A loaded model that separates whole recordings: the Python side of `avsep separate`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avsep.errors import CheckError, UsageError
from avsep.faces.backends import FaceBackend, create
from avsep.files import dump_json, fresh_directory, sha256_text
from avsep.models import checkpoint
from avsep.models.registry import model_name
from avsep.progress import StepProgress, hidden_progress
from avsep.separation.adapters import adapter_for
from avsep.separation.config import SeparateConfig
from avsep.separation.disk_array import DiskArray
from avsep.separation.folder import LISTING, default_output, output_folder
from avsep.separation.left_out import LeftOut, sentences
from avsep.separation.listing import recording_facts, speaker_facts, write_tracks
from avsep.separation.live import LiveSeparator
from avsep.separation.recording import (
    ArrayRecording,
    FileRecording,
    Recording,
    checked_path,
    opened_recording,
)
from avsep.separation.sounds import Pcm, leveled, write_residual, write_voice
from avsep.separation.speakers import Speaker, find_speakers
from avsep.separation.tracking import track_faces
from avsep.separation.videos import copy_videos, write_videos
from avsep.separation.windows import separate_recording
from avsep.settings import as_values

# Raise it when a recording gives other results with the same settings and weights, so that
# those of an earlier version are not taken for done.
RESULTS_VERSION = 1
BACKEND = "mediapipe"

Voice = Path | np.ndarray | Tensor
Frames = tuple[Any, Any, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeakerResult:
    """One speaker of a recording.

    Attributes:
        number: counted from 1 by first appearance, then from left to right.
        voice: the WAV file; or (N,) float32, an array or a tensor like the given sound.
        video: the MP4 file, if one was written.
        facts: when the face was visible, the gain of the voice, and so on; plain values.
    """

    number: int
    voice: Voice
    video: Path | None
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """The result of a recording.

    Attributes:
        speakers: the speakers by number.
        residual: the mixture minus all voices, in the form of the voices; None if not asked for.
        facts: plain values about the recording.
        folder: folder of the files; None for arrays.
    """

    speakers: tuple[SpeakerResult, ...]
    residual: Voice | None
    facts: dict[str, Any]
    folder: Path | None

    def summary(self) -> dict[str, Any]:
        """All facts as plain values, without the rows per frame."""
        return {**self.facts, "speakers": [speaker.facts for speaker in self.speakers]}


class Separator:
    """Separates the voices of the faces in videos of any length.

    Args:
        model: a model with its card, as `avsep.models.checkpoint.load` returns it.
        config: settings; the defaults if None.
        backend: detects faces; the one that comes with avsep if None.
    """

    def __init__(
        self,
        model: nn.Module,
        config: SeparateConfig | None = None,
        backend: FaceBackend | None = None,
    ) -> None:
        self.config = config or SeparateConfig()
        self._model = model
        self._adapter = adapter_for(model, self.config.precision)
        self._given = self._backend = backend

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        config: SeparateConfig | None = None,
    ) -> Separator:
        """Load a model directory (`card.json` and weights).

        Raises:
            CheckError: the model is missing, damaged, or does not separate speech.
        """
        return cls(checkpoint.load(Path(path), device), config)

    @property
    def name(self) -> str:
        """dolphin, vovit or vovit-s1."""
        return model_name(self._model.card)  # type: ignore[arg-type]

    def another(self) -> Separator:
        """A separator for another thread, with the same model and its own face detector.

        Raises:
            UsageError: this one was given a face backend, which threads cannot share.
        """
        if self._given is not None:
            raise UsageError("a separator with a face backend of its own does one job at a time.")
        return Separator(self._model, self.config)

    def made_from(self, path: Path) -> str:
        """What the results of a file depend on, as one short hash.

        That is the file, the settings, the weights, the face backend and `RESULTS_VERSION`.

        Raises:
            UsageError: the file cannot be read.
        """
        checked_path(path)
        status = path.stat()
        card: dict[str, Any] = self._model.card  # type: ignore[assignment]
        backend = BACKEND if self._given is None else self._given.name
        values = [RESULTS_VERSION, backend, as_values(self.config), card["sha256"]]
        values += [status.st_size, status.st_mtime_ns]
        return sha256_text(dump_json(values))[:16]

    def live(self) -> LiveSeparator:
        """The same model for a recording that comes in frame by frame."""
        return LiveSeparator(self._adapter, self.config, self._faces())

    def separate(
        self,
        source: str | Path | Frames,
        output: str | Path | None = None,
        progress: StepProgress = hidden_progress,
    ) -> Separation:
        """Separate a recording: files for a file, arrays for arrays, tensors for tensors.

        Args:
            source: a video file; or (frames, audio, rate) with frames (F, H, W, 3) uint8 RGB at 25
                per second, audio (N,) float in -1..1 that starts with them, and rate 16000.
            output: folder of the results of a file; `<stem>_output` beside it if None.
            progress: shows each step; see `avsep.progress.show_progress`.

        Raises:
            UsageError: the file cannot be read, or the output cannot be written.
            CheckError: there is no face or no sound, the file is damaged, or the disk is full.
            ValueError: arrays of a wrong shape, type or rate.
        """
        if isinstance(source, tuple):
            if output is not None:
                raise ValueError("arrays are returned as arrays; leave output out.")
            return self._separate_arrays(*source, progress=progress)
        path = checked_path(source)
        target = Path(output) if output is not None else default_output(path)
        with output_folder(target) as folder:
            made = self._separate_file(path, folder, progress)
        return _moved(made, folder, target)

    def _separate_file(self, path: Path, folder: Path, progress: StepProgress) -> Separation:
        work = fresh_directory(folder / "work")
        with opened_recording(path, work) as recording:
            made = self._separate_recording(recording, self.made_from(path), folder, work, progress)
        shutil.rmtree(work)
        return made

    def _separate_recording(
        self,
        recording: FileRecording,
        made_from: str,
        folder: Path,
        work: Path,
        progress: StepProgress,
    ) -> Separation:
        speakers, left_out, voices = self._voices(recording, work, progress)
        sounds = [leveled(voice) for voice in voices]
        for speaker, sound in zip(speakers, sounds, strict=True):
            write_voice(folder / f"speaker{speaker.number}.wav", sound, recording.timeline)
        residual = None
        if self.config.residual:
            residual = folder / "residual.wav"
            write_residual(residual, recording.mixture, sounds, recording.timeline)
        if not self.config.audio_only:
            self._write_videos(folder, recording, speakers, sounds, progress)
        files = sorted(path.name for path in folder.iterdir() if path != work)
        facts = self._facts(recording, left_out) | {
            "made_from": made_from,
            "files": [*files, LISTING],
        }
        of_speakers = [_facts(*pair, recording) for pair in zip(speakers, sounds, strict=True)]
        write_tracks(
            folder / LISTING, recording, speakers, of_speakers, facts, self.config.face_scale
        )
        return Separation(
            speakers=tuple(
                SpeakerResult(
                    number=speaker.number,
                    voice=folder / f"speaker{speaker.number}.wav",
                    video=None
                    if self.config.audio_only
                    else folder / f"speaker{speaker.number}.mp4",
                    facts=fact,
                )
                for speaker, fact in zip(speakers, of_speakers, strict=True)
            ),
            residual=residual,
            facts=facts,
            folder=folder,
        )

    def _write_videos(
        self,
        folder: Path,
        recording: FileRecording,
        speakers: Sequence[Speaker],
        sounds: Sequence[Pcm],
        progress: StepProgress,
    ) -> None:
        if self.config.video == "copy":
            problem = copy_videos(folder, recording, speakers, sounds, progress)
            if not problem:
                return
            recording.notes += (
                f"the pictures of {recording.name} cannot be copied, since {problem}; the videos"
                " are encoded anew.",
            )
        write_videos(folder, recording, speakers, sounds, self.config.face_scale, progress)

    def _separate_arrays(
        self, frames: Any, audio: Any, rate_hz: int, *, progress: StepProgress
    ) -> Separation:
        with tempfile.TemporaryDirectory(prefix="avsep-") as name:
            recording = ArrayRecording(_array(frames), _array(audio), rate_hz, Path(name))
            speakers, left_out, voices = self._voices(recording, Path(name), progress)
            count = recording.timeline.num_samples
            arrays = [voice[:count] * np.float32(leveled(voice).gain) for voice in voices]
            mixture = recording.mixture[:count]
            facts = [
                _facts(speaker, leveled(voice), recording)
                for speaker, voice in zip(speakers, voices, strict=True)
            ]
        rest = mixture - np.sum(arrays, axis=0, dtype=np.float32)
        return Separation(
            speakers=tuple(
                SpeakerResult(number=s.number, voice=_like(audio, array), video=None, facts=fact)
                for s, array, fact in zip(speakers, arrays, facts, strict=True)
            ),
            residual=_like(audio, rest) if self.config.residual else None,
            facts=self._facts(recording, left_out),
            folder=None,
        )

    def _voices(
        self, recording: Recording, folder: Path, progress: StepProgress
    ) -> tuple[Sequence[Speaker], list[LeftOut], list[DiskArray]]:
        tracklets, untracked = track_faces(recording, self.config, self._faces(), folder, progress)
        try:
            speakers, left_out = find_speakers(
                tracklets, recording.timeline, self.config, recording.name
            )
        except CheckError as error:
            raise CheckError(" ".join([str(error), *sentences(untracked, self.config)])) from error
        voices = [DiskArray(folder / f"voice{s.number}.f32", "float32") for s in speakers]
        separate_recording(recording, speakers, self._adapter, voices, self.config, progress)
        return speakers, left_out + untracked, voices

    def _faces(self) -> FaceBackend:
        if self._backend is None:
            self._backend = create(BACKEND)
        return self._backend

    def _facts(self, recording: Recording, left_out: Sequence[LeftOut]) -> dict[str, Any]:
        card: dict[str, Any] = self._model.card  # type: ignore[assignment]
        return recording_facts(recording) | {
            "model": self.name,
            "weights_sha256": card["sha256"],
            "face_scale": self.config.face_scale,
            "left_out": [face.facts() for face in left_out],
            "notes": [*recording.notes, *sentences(left_out, self.config)],
        }


def _facts(speaker: Speaker, sound: Pcm, recording: Recording) -> dict[str, Any]:
    facts = speaker_facts(speaker, recording.timeline.start_s)
    return facts | {"gain_db": round(20 * float(np.log10(sound.gain)), 3)}


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _like(given: Any, values: np.ndarray) -> np.ndarray | Tensor:
    if not isinstance(given, Tensor):
        return values
    return torch.from_numpy(np.ascontiguousarray(values)).to(given.device)


def _moved(made: Separation, folder: Path, target: Path) -> Separation:
    """The result with the paths that its files have now."""

    def place(path: Any) -> Any:
        return target / path.relative_to(folder) if isinstance(path, Path) else path

    return replace(
        made,
        speakers=tuple(
            replace(s, voice=place(s.voice), video=place(s.video)) for s in made.speakers
        ),
        residual=place(made.residual),
        folder=target,
    )
