"""VoViT: separates a speaker's voice by the landmarks of the face.

Shapes: B items, N samples at 16,384 Hz, L samples at 16,000 Hz, F landmark frames at 25 per second,
V = 68 landmarks, D coordinates (3; 2 for singing).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, overload

import torch
from torch import Tensor, nn

from avsep.models.full_precision import check_format
from avsep.models.vovit.chunks import cross_fade, cut_audio, cut_frames, plan_chunks
from avsep.models.vovit.config import MODEL_RATE_HZ, EnhancerConfig, VoViTConfig
from avsep.models.vovit.inputs import (
    Clips,
    Peak,
    as_float,
    check_audio,
    check_lengths,
    peak_of,
)
from avsep.models.vovit.landmarks import (
    check_finite,
    check_order,
    check_shape,
    fill_gaps,
    lost_frames,
    smooth,
)
from avsep.models.vovit.network import Details, VoViTNetwork
from avsep.models.vovit.registration import register
from avsep.models.vovit.resample import from_model_rate, to_model_rate
from avsep.schema import FPS, SAMPLES_PER_FRAME, Cues

CHUNKS_ON_CPU, CHUNKS_ON_GPU = 8, 64  # that go through the network at once
OVERLAP_FRAMES = 10  # of neighbouring chunks, at least


class VoViT(nn.Module):
    """The model in all its variants.

    The mean face to which landmarks are registered is saved with the weights. A new model has none
    until `set_mean_face` is called; singing needs none.
    """

    mean_face: Tensor

    def __init__(self, config: VoViTConfig) -> None:
        super().__init__()
        self.config = config
        self.network = VoViTNetwork(config)
        self._stage1_frozen = False
        if config.registers:
            self.register_buffer("mean_face", torch.full((68, 3), torch.nan))

    @classmethod
    def on_stage1(cls, stage1: VoViT, enhancer: EnhancerConfig | None = None) -> VoViT:
        """A `speech` model with a frozen copy of a trained `speech-s1` model as first stage.

        Args:
            stage1: the trained first stage.
            enhancer: sizes of the new, untrained enhancer; None for those in the config.

        Raises:
            ValueError: `stage1` has another variant.
        """
        if stage1.config.variant != "speech-s1":
            raise ValueError(
                f"the first stage has the variant {stage1.config.variant!r}; give a 'speech-s1'"
                " model."
            )
        config = dataclasses.replace(
            stage1.config, variant="speech", enhancer=enhancer or stage1.config.enhancer
        )
        model = cls(config)
        model.network.stage1.load_state_dict(stage1.network.stage1.state_dict())
        model.mean_face.copy_(stage1.mean_face)
        return model.freeze_stage1()

    def set_mean_face(self, face_V3: Tensor) -> VoViT:
        """Set the mean face, (68, 3) in pixels; returns the model itself.

        Raises:
            ValueError: the shape is wrong, a value is not finite, or the variant has no mean face.
        """
        if not self.config.registers:
            raise ValueError("a singing model takes aligned landmarks and has no mean face.")
        if tuple(face_V3.shape) != (68, 3) or not bool(face_V3.isfinite().all()):
            raise ValueError(
                f"the mean face must be (68, 3) finite pixels, not {tuple(face_V3.shape)}."
            )
        self.mean_face.copy_(face_V3)
        return self

    def freeze_stage1(self) -> VoViT:
        """Freeze stage 1, to train only the enhancer: no gradients, and always in eval mode."""
        self._stage1_frozen = True
        self.network.stage1.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> VoViT:
        """Set training or eval mode; a frozen stage 1 stays in eval mode."""
        super().train(mode)
        if self._stage1_frozen:
            self.network.stage1.eval()
        return self

    def use_precision(
        self, compute: torch.dtype | None = None, audio_encoder: torch.dtype | None = None
    ) -> VoViT:
        """Choose the precision of the networks; spectra and registration stay in float32.

        Args:
            compute: float16, bfloat16 or float32 for all networks; None follows the surrounding
                autocast.
            audio_encoder: precision of the audio encoder's convolutions; None for that of the
                rest. bfloat16 here and float32 elsewhere is fast on CPUs with AMX and changes the
                result little.
        """
        self.network.compute_dtype = compute
        self.network.stage1.audio_encoder.compute_dtype = audio_encoder
        return self

    @overload
    def forward(
        self, mixture: Tensor, landmarks: Tensor, *, peak: Peak = ..., return_details: Literal[True]
    ) -> Details: ...
    @overload
    def forward(
        self,
        mixture: Tensor,
        landmarks: Tensor,
        *,
        peak: Peak = ...,
        return_details: Literal[False] = ...,
    ) -> Tensor: ...
    def forward(
        self,
        mixture: Tensor,
        landmarks: Tensor,
        *,
        peak: Peak = "item",
        return_details: bool = False,
    ) -> Tensor | Details:
        """Separate clips of exactly the clip length, as the official wrapper does.

        Landmarks are registered but not smoothed. Lost frames (all zero) are filled, see
        `landmarks.fill_gaps`. Singing landmarks are used as they are.

        Args:
            mixture: (B, N) at 16,384 Hz with N = `clip_samples` of the config (32,767; singing
                65,535). Integers are scaled to -1..1.
            landmarks: (B, F, 68, D) in pixels of the 224-pixel analysis frame, F = 50 (singing
                100).
            peak: normalise by the peak of each item, or by that of the whole batch as the official
                code does.
            return_details: whether to return masks and spectra too.

        Returns:
            (B, N) at the level of the normalised mixture, or `Details`.

        Raises:
            ValueError: a shape, length or number of frames is wrong, or the landmarks are not
                finite or do not resemble a face.
        """
        audio = as_float(mixture)
        clip, frames = self.config.spectrum.clip_samples, self.config.spectrum.clip_video_frames
        if audio.ndim != 2 or audio.shape[1] != clip:
            raise ValueError(
                f"the mixture must be (batch, {clip}), not {tuple(audio.shape)};"
                " use `separate` for other lengths."
            )
        self._check(audio, landmarks)
        if landmarks.shape[1] != frames:
            raise ValueError(
                f"a clip has {frames} landmark frames at {FPS} per second, not"
                f" {landmarks.shape[1]}; resample them."
            )
        points = self._points(landmarks.to(audio.device), None)
        details = self.network(audio / peak_of(audio, peak), points)
        return details if return_details else details.waveform

    def separate(
        self,
        mixture: Tensor,
        landmarks: Tensor,
        valid: Tensor | None = None,
        *,
        peak: Peak = "item",
        overlap_frames: int = OVERLAP_FRAMES,
        max_batch: int | None = None,
    ) -> Tensor:
        """Separate mixtures of any length, at the level of the mixture.

        Chunks of the clip length are normalised, separated, scaled back and cross-faded, see
        `chunks`.

        Args:
            mixture: (B, N) at 16,384 Hz.
            landmarks: (B, F, 68, D) in pixels, at 25 frames per second over the same time.
            valid: (B, F) as `schema.Landmarks.valid`; None if lost frames are all zero.
            peak: normalise by the peak of each chunk (`item`), or by that of all (`batch`).
            overlap_frames: minimum overlap of neighbouring chunks, in landmark frames.
            max_batch: number of chunks that go through the network at once; None for 64 on a GPU
                and 8 on a CPU.

        Returns:
            (B, N).

        Raises:
            ValueError: see `forward`; or sound and landmarks differ by more than 5 frames.
        """
        audio = as_float(mixture)
        self._check(audio, landmarks)
        points = self._points(landmarks.to(audio.device), valid)
        return self._separate(audio, points, peak, overlap_frames, max_batch)

    def estimate(self, mixture: Tensor, cues: Cues) -> Tensor:
        """Separate mixtures at 16,000 Hz, with landmarks as they are stored in shards.

        Resamples to 16,384 Hz and back, fills lost frames, smooths the landmarks over three frames
        and registers them.

        Args:
            mixture: (B, L) at 16,000 Hz.
            cues: batched; only `landmarks` (B, F, 68, 3) and `valid` (B, F) are used.

        Returns:
            (B, L) float32 at 16,000 Hz, at the level of the mixture.

        Raises:
            ValueError: a shape is wrong, a value is not finite, or sound and landmarks have
                different lengths.
        """
        check_format(self._weight, mixture=mixture)
        landmarks, valid = self._cues(mixture, cues)
        check_audio(mixture, len(landmarks))
        check_lengths(mixture.shape[-1] / SAMPLES_PER_FRAME, landmarks.shape[1])
        check_finite(landmarks)
        audio = to_model_rate(mixture)
        points = self._points(self._smoothed(landmarks, valid), None)
        separated = self._separate(audio, points, "item", OVERLAP_FRAMES, None)
        return from_model_rate(separated, mixture.shape[-1])

    def prepare(self, mixture: Tensor, target: Tensor, cues: Cues) -> Clips:
        """Prepare training clips from stored data by the same steps as `estimate`.

        Frames with landmarks that are not finite count as lost.

        Args:
            mixture: (B, L) at 16,000 Hz, exactly one clip long (2 s, L = 32,000).
            target: (B, L), the target voice.
            cues: batched.

        Raises:
            ValueError: the length is not that of a clip.
        """
        clip = self.config.spectrum.clip_samples
        length = (clip + 1) * SAMPLES_PER_FRAME * FPS // MODEL_RATE_HZ
        if mixture.shape[-1] != length or target.shape != mixture.shape:
            raise ValueError(
                f"a training clip has {length} samples at 16 kHz, but the mixture is"
                f" {tuple(mixture.shape)} and the target {tuple(target.shape)}."
            )
        landmarks, valid = self._cues(mixture, cues)
        points = self._points(self._smoothed(landmarks, valid), None)
        audio, voice = to_model_rate(mixture)[:, :clip], to_model_rate(target)[:, :clip]
        peak = peak_of(audio, "item")
        return Clips(audio / peak, voice / peak, points)

    def _cues(self, mixture: Tensor, cues: Cues) -> tuple[Tensor, Tensor]:
        landmarks = torch.as_tensor(cues.landmarks, device=mixture.device).float()
        check_shape(landmarks, self.config.landmark_dimensions)
        if landmarks.shape[0] != mixture.shape[0]:
            raise ValueError(
                f"there are {mixture.shape[0]} mixtures but landmarks of {landmarks.shape[0]}"
                " faces; give one face per mixture."
            )
        valid = torch.as_tensor(cues.valid, device=mixture.device)
        return landmarks, valid

    def _check(self, audio: Tensor, landmarks: Tensor) -> None:
        check_format(self._weight, mixture=audio)
        check_shape(landmarks, self.config.landmark_dimensions)
        check_audio(audio, len(landmarks))
        check_finite(landmarks)
        check_lengths(audio.shape[1] * FPS / MODEL_RATE_HZ, landmarks.shape[1])
        if self.config.registers:
            check_order(landmarks.to(audio.device), self._mean_face())

    @property
    def _weight(self) -> Tensor:
        return self.network.stage1.fusion.adapt.weight

    def _smoothed(self, landmarks: Tensor, valid: Tensor | None) -> Tensor:
        if not self.config.registers:
            return landmarks
        filled = fill_gaps(landmarks, lost_frames(landmarks, valid), self._mean_face())
        smoothed = smooth(filled)
        return smoothed.round() if self.config.round_landmarks else smoothed

    def _points(self, landmarks: Tensor, valid: Tensor | None) -> Tensor:
        """The graph network's input (B, F, 68, 2)."""
        landmarks = landmarks.float()
        if not self.config.registers:
            return landmarks
        face = self._mean_face()
        valid = None if valid is None else valid.to(landmarks.device)
        filled = fill_gaps(landmarks, lost_frames(landmarks, valid), face)
        return register(filled, face)[..., :2]

    def _mean_face(self) -> Tensor:
        if not bool(self.mean_face.isfinite().all()):
            raise ValueError(
                "the model has no mean face; compute one from training landmarks with"
                " registration.mean_face and pass it to set_mean_face, or load a checkpoint."
            )
        return self.mean_face

    def _separate(
        self, audio: Tensor, points: Tensor, peak: Peak, overlap_frames: int, max_batch: int | None
    ) -> Tensor:
        sizes = self.config.spectrum
        plan = plan_chunks(
            audio.shape[1], sizes.clip_samples, sizes.clip_video_frames, overlap_frames
        )
        chunks = cut_audio(audio, plan).flatten(0, 1)
        faces = cut_frames(points, plan).flatten(0, 1)
        level = peak_of(chunks, peak)
        max_batch = max_batch or (CHUNKS_ON_CPU if chunks.is_cpu else CHUNKS_ON_GPU)
        groups = zip((chunks / level).split(max_batch), faces.split(max_batch), strict=True)
        separated = torch.cat([self.network(sound, face).waveform for sound, face in groups])
        return cross_fade((separated * level).unflatten(0, (audio.shape[0], -1)), plan)
