"""VoViT as one forward pass whose operations can be recorded for sound of any length.

In real numbers, and without a singular value decomposition: exchange formats have neither complex
tensors nor that. Numbers that follow from lengths are tensors here, so that they are recorded.

Shapes: B items, L samples at 16,000 Hz, N samples at 16,384 Hz, F landmark frames at 25 per second,
K chunks, S samples and P landmark frames per chunk, V = 68 landmarks, M bins, T spectral frames.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.vovit.config import MODEL_RATE_HZ, NUM_SOURCES, SpectrumConfig
from avsep.models.vovit.inputs import peak_of
from avsep.models.vovit.landmarks import lost_frames, smooth
from avsep.models.vovit.model import OVERLAP_FRAMES, VoViT
from avsep.models.vovit.network import VoViTNetwork
from avsep.models.vovit.registration import NUM_RIGID
from avsep.models.vovit.resample import from_model_rate, to_model_rate
from avsep.schema import FPS, NUM_LANDMARKS, SAMPLES_PER_FRAME, Cues

SQUARINGS = 30  # the rotation that fits best is then 2^30 times as clear as it was
MOST_FRAMES = 20  # as a power of two: gaps in landmarks may be so long, 11 hours


class TraceableVoViT(nn.Module):
    """What `VoViT.estimate` computes, without checks and without branches on lengths.

    Args:
        model: in eval mode, with a mean face if it registers landmarks.
    """

    cue = "landmarks"
    shortest = 1
    note = (
        "68 points per frame in iBUG order, 25 frames per second, in pixels of a face"
        " crop of 224 x 224, x right and y down; all zero in frames without a face."
    )

    def __init__(self, model: VoViT) -> None:
        super().__init__()
        self.model = model
        self.network = RealNetwork(model.network)

    def forward(self, mixture: Tensor, landmarks: Tensor) -> Tensor:
        """The voice (B, L) in a mixture (B, L) by the landmarks (B, F, 68, D), all zero if lost."""
        audio = to_model_rate(mixture)
        starts, fade = self._plan(torch._shape_as_tensor(audio)[1])
        chunks = self._cut_audio(audio, starts)
        points = self._cut_frames(self._points(landmarks), starts)
        level = peak_of(chunks, "item")
        separated = self.network(chunks / level, points) * level
        joined = self._cross_fade(separated.reshape(mixture.shape[0], -1), starts, fade, audio)
        return from_model_rate(joined, mixture.shape[1])

    def cues(self, landmarks: Tensor) -> Cues:
        """The landmarks as `VoViT.estimate` takes them; lost frames are those of zeros."""
        return Cues(lips=None, landmarks=landmarks, valid=torch.ones(landmarks.shape[:2]))

    def example(self, batch: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Landmarks (B, F, 68, D) of moving faces for sound of a length; some frames are lost."""
        frames = -(-num_samples // SAMPLES_PER_FRAME)
        config = self.model.config
        face = torch.randn(NUM_LANDMARKS, config.landmark_dimensions, generator=generator) * 40
        if config.registers:
            face = self.model._mean_face()
        shape = (batch, frames, NUM_LANDMARKS, config.landmark_dimensions)
        points = face + 2 * torch.randn(shape, generator=generator)
        turn = torch.linspace(-0.3, 0.3, frames)[:, None]
        x, y = points[..., 0].clone(), points[..., 1].clone()
        points[..., 0] = x * turn.cos() - y * turn.sin()
        points[..., 1] = x * turn.sin() + y * turn.cos() + 7
        if config.registers:
            points[:, 3::7] = 0
        return points

    def _points(self, landmarks: Tensor) -> Tensor:
        """As `VoViT.estimate` prepares landmarks, (B, F, V, D) to (B, F, V, 2)."""
        if not self.model.config.registers:
            return landmarks
        points = smooth(_fill_gaps(landmarks, lost_frames(landmarks), self.model.mean_face))
        if self.model.config.round_landmarks:
            points = points.round()
        return _register(points, self.model.mean_face)[..., :2]

    def _plan(self, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """First frame and sample of each chunk (K, 2), and samples per fade; see `plan_chunks`."""
        sizes = self.model.config.spectrum
        beyond = (num_samples - 1 - sizes.clip_samples).clamp(min=0)
        last = _ceil((beyond * FPS - FPS // 2).clamp(min=0), MODEL_RATE_HZ)
        steps = _ceil(last, sizes.clip_video_frames - OVERLAP_FRAMES)
        number = torch.arange(steps + 1)  # type: ignore[call-overload]  # its tensor form
        frames = _floor(number * last, steps.clamp(min=1))
        longest = _ceil(last, steps.clamp(min=1))
        overlap = sizes.clip_samples - _sample_of_frame(longest) - 1
        starts = torch.stack([frames, _sample_of_frame(frames)], dim=1)
        return starts, overlap.clamp(max=sizes.clip_samples // 2)

    def _cut_audio(self, audio: Tensor, starts: Tensor) -> Tensor:
        """(B, N) to (B K, S), with zeros at the end."""
        clip = self.model.config.spectrum.clip_samples
        index = starts[:, 1:] + torch.arange(clip)
        return F.pad(audio, (0, clip))[:, index].flatten(0, 1)

    def _cut_frames(self, points: Tensor, starts: Tensor) -> Tensor:
        """(B, F, V, 2) to (B K, P, V, 2); the last frame is repeated at the end."""
        index = starts[:, :1] + torch.arange(self.model.config.spectrum.clip_video_frames)
        index = torch.minimum(index, torch._shape_as_tensor(points)[1] - 1)
        return points[:, index].flatten(0, 1)

    def _cross_fade(self, chunks: Tensor, starts: Tensor, fade: Tensor, audio: Tensor) -> Tensor:
        """Chunks (B, K S) as one signal like the audio (B, N)."""
        place = torch.arange(self.model.config.spectrum.clip_samples)
        rise = ((place + 0.5) / fade).clamp(max=1.0)
        weight = torch.where((starts[:, 1] > 0)[:, None], rise, 1.0)
        weight = weight * torch.where((starts[:, 1] < starts[-1, 1])[:, None], rise.flip(0), 1.0)
        index = (starts[:, 1:] + place).flatten()
        empty = torch.zeros_like(F.pad(audio, (0, place.shape[0])))
        signal = empty.scatter_add(1, index.expand_as(chunks), chunks * weight.flatten())
        weights = empty[0].scatter_add(0, index, weight.flatten())
        signal = signal / weights.clamp(min=1e-6)
        # A last sample that no chunk reaches is like the one before it.
        covered = torch.arange(audio.shape[1]).clamp(max=index[-1])
        return signal.index_select(1, covered)


class RealNetwork(nn.Module):
    """What `VoViTNetwork` computes, with real and imaginary parts as tensors of their own."""

    transform: Tensor
    inverse: Tensor
    envelope: Tensor

    def __init__(self, network: VoViTNetwork) -> None:
        super().__init__()
        self.stage1, self.enhancer, self.sizes = network.stage1, network.enhancer, network.spectrum
        forward, backward, envelope = _transforms(network.spectrum)
        self.register_buffer("transform", forward)
        self.register_buffer("inverse", backward)
        self.register_buffer("envelope", envelope)

    def forward(self, mixture: Tensor, points: Tensor) -> Tensor:
        """Normalised clips (B, S) and registered landmarks (B, P, V, 2) to voices (B, S)."""
        sizes, stage1 = self.sizes, self.stage1
        half = sizes.fft_size // 2
        padded = F.pad(mixture[:, None], (half, half), mode="reflect")
        spectrum = F.conv1d(padded, self.transform, stride=sizes.hop) / NUM_SOURCES
        real, imaginary = spectrum.chunk(2, dim=1)
        kept = torch.stack([real, imaginary], dim=1)[:, :, :: sizes.bin_stride]
        visual = stage1.graph(points, sizes.num_frames)
        logits = stage1.fusion(visual, stage1.audio_encoder(kept.transpose(2, 3)))
        mask = NUM_SOURCES * logits.repeat_interleave(sizes.bin_stride, dim=2)
        a, b = mask[:, 0], mask[:, 1]
        real, imaginary = a * real - b * imaginary, a * imaginary + b * real
        if self.enhancer is not None:
            gain = self.enhancer((real.square() + imaginary.square()).sqrt())
            real, imaginary = gain * real, gain * imaginary
        wave = F.conv_transpose1d(
            torch.cat([real, imaginary], dim=1), self.inverse, stride=sizes.hop
        )
        return wave[:, 0, half : half + sizes.clip_samples] / self.envelope


def _transforms(sizes: SpectrumConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The transform of a frame, its inverse, and what overlapping frames add up to.

    Returns:
        (2 M, 1, n), (2 M, 1, n) and (S,) for windows of n samples.
    """
    n, bins = sizes.fft_size, sizes.num_bins
    window = torch.hann_window(n, dtype=torch.float64)
    turns = torch.arange(bins)[:, None] * torch.arange(n) % n
    angle = turns.double() * (2 * math.pi / n)
    basis = torch.cat([angle.cos(), -angle.sin()]) * window
    share = torch.full((bins,), 2.0 / n, dtype=torch.float64)
    share[0] = share[-1] = 1.0 / n
    inverse = basis * torch.cat([share, share])[:, None]
    squares = window.square().expand(1, sizes.num_frames, n).transpose(1, 2)
    length = n + (sizes.num_frames - 1) * sizes.hop
    envelope = F.fold(squares, (1, length), (1, n), stride=(1, sizes.hop)).flatten()
    envelope = envelope[n // 2 :][: sizes.clip_samples]
    return basis[:, None].float(), inverse[:, None].float(), envelope.float()


def _floor(a: Tensor, b: Tensor | int) -> Tensor:
    """Whole numbers a / b, rounded down; a is not negative."""
    return torch.div(a, b, rounding_mode="trunc")


def _ceil(a: Tensor, b: Tensor | int) -> Tensor:
    """Whole numbers a / b, rounded up; a is not negative."""
    return _floor(a + b - 1, b)


def _sample_of_frame(frame: Tensor) -> Tensor:
    """See `chunks.sample_of_frame`."""
    return _floor(frame * MODEL_RATE_HZ + FPS // 2, FPS)


def _fill_gaps(points: Tensor, lost: Tensor, resting: Tensor) -> Tensor:
    """See `landmarks.fill_gaps`."""
    index = torch.arange(points.shape[1])
    before = _largest_so_far(torch.where(lost, -1, index))
    # The same from the end, counted from the end.
    after = index[-1] - _largest_so_far(torch.where(lost.flip(1), -1, index)).flip(1)
    first = torch.minimum(torch.where(before < 0, after, before), index[-1])
    last = torch.where(after > index[-1], before, after).clamp(min=0)
    share = ((index - first) / (last - first).clamp(min=1)).clamp(0, 1)[..., None, None]
    a, b = (_take(points, frame) for frame in (first, last))
    none = (before[:, -1:] < 0)[..., None, None]
    return torch.where(none, resting, torch.lerp(a, b, share))


def _take(points: Tensor, frame: Tensor) -> Tensor:
    """The frames (B, F) of points (B, F, V, D)."""
    flat = points.flatten(2)
    return flat.gather(1, frame[..., None].expand_as(flat)).reshape(points.shape)


def _largest_so_far(numbers: Tensor) -> Tensor:
    """The largest of the numbers (B, F) up to each, by looking twice as far back each time."""
    for power in range(MOST_FRAMES):
        earlier = F.pad(numbers, (1 << power, 0), value=-1)[:, : numbers.shape[1]]
        numbers = torch.maximum(numbers, earlier)
    return numbers


def _register(points: Tensor, face: Tensor) -> Tensor:
    """See `registration.register`; by Horn's quaternions instead of singular values.

    The quaternion of the rotation that fits best is the eigenvector of the largest eigenvalue of a
    symmetric 4 x 4 matrix. High powers of that matrix tend to the outer product of it with itself,
    and the entries of the rotation are sums of entries of that product.
    """
    points, face = points.double(), face.double()
    center = points[..., :NUM_RIGID, :].mean(-2, keepdim=True)
    face_center = face[:NUM_RIGID].mean(-2, keepdim=True)
    covariance = (points[..., :NUM_RIGID, :] - center).transpose(-1, -2) @ (
        face[:NUM_RIGID] - face_center
    )
    size = covariance.square().sum((-1, -2), keepdim=True).sqrt().clamp(min=1e-9)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (
        row.unbind(-1) for row in (covariance / size).unbind(-2)
    )
    rows = (
        (xx + yy + zz, yz - zy, zx - xz, xy - yx),
        (yz - zy, xx - yy - zz, xy + yx, zx + xz),
        (zx - xz, xy + yx, yy - xx - zz, yz + zy),
        (xy - yx, zx + xz, yz + zy, zz - xx - yy),
    )
    # All eigenvalues lie within sqrt(3), so that with 2 added they are positive.
    power = torch.stack([torch.stack(row, -1) for row in rows], -2) + 2 * torch.eye(4).double()
    for _ in range(SQUARINGS):
        power = power @ power
        power = power / power.square().sum((-1, -2), keepdim=True).sqrt()
    (ww, wi, wj, wk), (_, ii, ij, ik), (_, _, jj, jk), (_, _, _, kk) = (
        row.unbind(-1) for row in power.unbind(-2)
    )
    # Transposed, because points are rows.
    turned = (
        (ww + ii - jj - kk, 2 * (ij + wk), 2 * (ik - wj)),
        (2 * (ij - wk), ww - ii + jj - kk, 2 * (jk + wi)),
        (2 * (ik + wj), 2 * (jk - wi), ww - ii - jj + kk),
    )
    rotation = torch.stack([torch.stack(row, -1) for row in turned], -2)
    return ((points - center) @ rotation + face_center).float()
