"""What happens to sound and landmarks before and after the network."""

import math
from itertools import pairwise

import pytest
import torch

from avsep.models.vovit.chunks import (
    cross_fade,
    cut_audio,
    cut_frames,
    plan_chunks,
    sample_of_frame,
)
from avsep.models.vovit.landmarks import (
    check_finite,
    check_order,
    check_shape,
    fill_gaps,
    lost_frames,
    smooth,
)
from avsep.models.vovit.registration import mean_face, misfit, register
from avsep.models.vovit.resample import from_model_rate, to_model_rate
from tests.support.vovit_tiny import face, moving_face, noise

CLIP, FRAMES = 32_767, 50


def rotations(count, seed=3, limit=0.5):
    """(count, 3, 3) rotations about random axes by up to `limit` radians."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    angle = limit * (2 * torch.rand(count, 1, generator=generator) - 1)
    x, y, z = (axis * angle).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return torch.matrix_exp(cross)


def tone(frequency_hz, rate_hz, samples):
    time = torch.arange(samples, dtype=torch.float64) / rate_hz
    return torch.sin(2 * math.pi * frequency_hz * time)[None].float()


# --- registration


def test_turned_and_shifted_faces_come_back_to_the_mean_face():
    turned = face() @ rotations(20).transpose(1, 2) + noise(20, 3, level=30)[:, None]
    assert (register(turned, face()) - face()).abs().max() < 1e-3


def test_registration_ignores_the_mouth_and_keeps_its_movement():
    speaking = face()
    speaking[48:, 1] += 9.0
    registered = register(speaking @ rotations(1)[0].T, face())
    assert (registered[:48] - face()[:48]).abs().max() < 1e-3
    assert (registered[48:] - speaking[48:]).abs().max() < 1e-3


def test_registration_keeps_the_size():
    registered = register(1.2 * face(), face())
    spread = (registered - registered.mean(0)).norm() / (face() - face().mean(0)).norm()
    assert spread == pytest.approx(1.2, rel=1e-5)


def test_registration_never_mirrors():
    mirrored = face() * torch.tensor([-1.0, 1.0, 1.0])
    registered = register(mirrored, face())
    volume = torch.linalg.det(registered[:3] - registered[3])
    assert torch.sign(volume) == torch.sign(torch.linalg.det(mirrored[:3] - mirrored[3]))


def test_half_precision_surroundings_do_not_touch_registration():
    turned = face() @ rotations(1)[0].T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        registered = register(turned, face())
    assert (registered - face()).abs().max() < 1e-3


def test_mean_face_of_turned_faces_is_the_face():
    turned = face() @ rotations(60, limit=0.3).transpose(1, 2)
    found = mean_face(turned)
    assert (register(found, face()) - face()).abs().max() < 0.05
    # A plain mean would shrink.
    plain = turned.mean(0)
    assert (plain - plain.mean(0)).norm() < 0.995 * (face() - face().mean(0)).norm()
    assert torch.equal(found, mean_face(turned))


def test_mean_face_uses_detected_frames_alone():
    frames = face().expand(6, 68, 3).clone()
    frames[1], frames[2], frames[3] = 0.0, 999.0, torch.nan
    valid = torch.tensor([1, 1, 2, 1, 1, 0])
    assert torch.allclose(mean_face(frames, valid), face(), atol=1e-3)
    with pytest.raises(ValueError, match="no frame with a detected face"):
        mean_face(frames, torch.zeros(6))
    with pytest.raises(ValueError, match="68, 3"):
        mean_face(frames.transpose(1, 2))


# --- landmarks


def test_wrong_layout_and_broken_values_are_refused():
    points = moving_face(2, 5)
    check_shape(points, 3)
    with pytest.raises(ValueError, match="last axis"):
        check_shape(points.transpose(2, 3), 3)
    with pytest.raises(ValueError, match="68, 3"):
        check_shape(points[:, :, :67], 3)
    with pytest.raises(ValueError, match="68, 2"):
        check_shape(points, 2)
    points[1, 3, 7, 0] = torch.inf
    with pytest.raises(ValueError, match="item 1 are not finite at frame 3"):
        check_finite(points)


def test_another_order_of_points_is_refused():
    points = moving_face(2, 9)
    check_order(points, face())
    shuffled = points.clone()
    shuffled[1] = points[1][:, torch.randperm(68, generator=torch.Generator().manual_seed(0))]
    with pytest.raises(ValueError, match="item 1 do not look like a face"):
        check_order(shuffled, face())
    with pytest.raises(ValueError, match="item 0"):
        check_order(points / 224, face())
    assert misfit(points * torch.tensor([1.0, -1.0, 1.0]), face()).min() > 0.6
    lost = points.clone()
    lost[:, :8] = 0.0
    check_order(lost, face())


def test_lost_frames_are_filled_along_a_straight_line_and_held_at_the_ends():
    points = torch.arange(8.0)[None, :, None, None].expand(1, 8, 68, 3).clone() + 1
    lost = torch.tensor([[1, 0, 1, 1, 0, 0, 1, 1]], dtype=torch.bool)
    points[lost] = 77.0
    filled = fill_gaps(points, lost, face())[0, :, 0, 0]
    assert torch.allclose(filled, torch.tensor([2.0, 2, 3, 4, 5, 6, 6, 6]))


def test_an_item_without_any_face_gets_the_resting_face():
    points = torch.zeros(2, 4, 68, 3)
    points[1] = moving_face(1, 4)
    filled = fill_gaps(points, lost_frames(points), face())
    assert torch.equal(filled[0], face().expand(4, 68, 3))
    assert torch.equal(filled[1], points[1])


def test_lost_frames_are_those_marked_or_zero_or_not_finite():
    points = moving_face(1, 5)
    points[0, 1] = 0.0
    points[0, 3, 5] = torch.nan
    valid = torch.tensor([[0, 1, 1, 1, 2]])
    assert lost_frames(points, valid)[0].tolist() == [True, True, False, True, False]


def test_smoothing_is_centred_and_holds_the_ends():
    points = torch.tensor([0.0, 3, 6, 0])[None, :, None, None].expand(1, 4, 68, 3)
    assert torch.allclose(smooth(points)[0, :, 0, 0], torch.tensor([1.0, 3, 3, 2]))


# --- resampling


def test_tones_keep_frequency_phase_and_level():
    for frequency in (100.0, 1000.0, 5000.0, 7000.0):
        resampled = to_model_rate(tone(frequency, 16_000, 32_000))
        assert resampled.shape == (1, 32_768)
        expected = tone(frequency, 16_384, 32_768)
        assert (resampled - expected)[:, 200:-200].abs().max() < 1e-3


def test_there_and_back_is_the_same_sound():
    speech_band = sum(tone(f, 16_000, 16_001) / 9 for f in range(300, 7300, 777))
    back = from_model_rate(to_model_rate(speech_band), 16_001)
    error = (back - speech_band)[:, 200:-200]
    assert back.shape == speech_band.shape
    assert 10 * math.log10(speech_band.square().mean() / error.square().mean()) > 60


@pytest.mark.parametrize("samples", [1, 2, 124, 125, 126, 639, 640, 16_000, 16_003])
def test_resampling_keeps_any_length(samples):
    there = to_model_rate(noise(1, samples))
    assert there.shape[1] == -(-samples * 128 // 125)
    assert from_model_rate(there, samples).shape[1] == samples


# --- chunks


@pytest.mark.parametrize(
    "samples",
    [1, 5000, 32_767, 32_768, 32_769, 33_000, 60_000, 65_536, 98_304, 100_304, 983_040, 983_041],
)
def test_chunks_cover_every_sample_and_stay_in_step(samples):
    plan = plan_chunks(samples, CLIP, FRAMES, 10)
    signal = torch.arange(samples, dtype=torch.float64)[None]
    joined = cross_fade(cut_audio(signal, plan), plan)
    assert joined.shape == signal.shape
    # Only the last sample of whole seconds may repeat the one before it.
    assert (joined - signal)[:, :-1].abs().max() < 1e-6 if samples > 1 else True
    assert (joined - signal).abs().max() <= 1 + 1e-6
    starts = [start for _, start in plan.starts]
    for frame, start in plan.starts:
        assert abs(start - frame * 16_384 / 25) <= 0.5
    for before, after in pairwise(starts):
        assert before + CLIP - after >= plan.fade_samples > 0
    assert starts[-1] + CLIP >= samples - 1


def test_whole_seconds_need_no_chunk_for_one_sample():
    assert len(plan_chunks(32_768, CLIP, FRAMES, 10).starts) == 1
    assert len(plan_chunks(32_769, CLIP, FRAMES, 10).starts) == 2


def test_no_drift_after_an_hour():
    plan = plan_chunks(3600 * 16_384, CLIP, FRAMES, 10)
    frame, sample = plan.starts[-1]
    assert frame == 3600 * 25 - FRAMES
    assert sample == sample_of_frame(frame) == 3600 * 16_384 - 2 * 16_384


def test_chunks_of_different_level_are_cross_faded():
    plan = plan_chunks(100_000, CLIP, FRAMES, 10)
    levels = torch.arange(len(plan.starts), dtype=torch.float32)[None, :, None].expand(1, -1, CLIP)
    joined = cross_fade(levels, plan)
    assert joined.diff().abs().max() < 1.5 / plan.fade_samples
    assert joined[0, 0] == 0
    assert joined[0, -1] == len(plan.starts) - 1


def test_landmarks_of_a_chunk_begin_with_its_sound():
    plan = plan_chunks(100_000, CLIP, FRAMES, 10)
    index = torch.arange(153.0)[None, :, None, None].expand(1, 153, 68, 2)
    chunks = cut_frames(index, plan)
    assert chunks.shape == (1, len(plan.starts), FRAMES, 68, 2)
    assert chunks[0, :, 0, 0, 0].tolist() == [frame for frame, _ in plan.starts]
    # The landmarks end before the last chunk does: the last frame is held.
    assert chunks[0, -1, -1, 0, 0] == min(152, plan.starts[-1][0] + FRAMES - 1)


def test_an_overlap_beyond_half_a_chunk_is_refused():
    with pytest.raises(ValueError, match="overlap_frames"):
        plan_chunks(100_000, CLIP, FRAMES, 26)
    with pytest.raises(ValueError, match="empty"):
        plan_chunks(0, CLIP, FRAMES, 10)
