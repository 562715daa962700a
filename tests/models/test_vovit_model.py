"""The model's promises on any weights: shapes, independence, any length, bad input, freezing."""

import dataclasses

import pytest
import torch

from avsep.models.vovit.chunks import plan_chunks
from avsep.models.vovit.config import (
    AudioEncoderConfig,
    EnhancerConfig,
    SpectrumConfig,
    VoViTConfig,
)
from avsep.models.vovit.inputs import as_float
from avsep.models.vovit.landmarks import smooth
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.registration import register
from avsep.models.vovit.state_dict_adapter import load_official
from avsep.settings import as_values, build
from tests.support.vovit_tiny import cues, face, moving_face, noise, tiny_config, tiny_model

CLIP = 32_767


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return tiny_model("speech")


def run(model, *args, **options):
    with torch.inference_mode():
        return model(*args, **options)


@pytest.mark.parametrize(
    ("variant", "clip", "frames"),
    [("speech-s1", CLIP, 50), ("speech", CLIP, 50), ("singing", 65_535, 100)],
)
def test_shapes_of_every_variant(variant, clip, frames):
    model = tiny_model(variant)
    landmarks = moving_face(2, frames)[..., : model.config.landmark_dimensions]
    details = run(model, noise(2, clip), landmarks, return_details=True)
    num_frames = model.config.spectrum.num_frames
    assert details.waveform.shape == (2, clip)
    assert details.logits.shape == (2, 2, 256, num_frames)
    assert details.mask.shape == (2, 256, num_frames)
    assert details.spectrum.shape == details.mixture_spectrum.shape == (2, 512, num_frames)
    assert (details.enhancer_mask is not None) == (variant == "speech")
    assert details.waveform.isfinite().all()


@pytest.mark.parametrize("variant", ["speech-s1", "speech", "singing"])
def test_configs_survive_json(variant):
    for config in (VoViTConfig.full(variant), VoViTConfig.demo(variant), tiny_config(variant)):
        assert build(VoViTConfig, as_values(config), "model") == config


def test_demo_size():
    stage1, both = VoViT(VoViTConfig.demo()), VoViT(VoViTConfig.demo("speech"))
    count = sum(p.numel() for p in stage1.parameters())
    assert 500_000 < count < 750_000
    assert 400_000 < sum(p.numel() for p in both.parameters()) - count < 600_000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VoViTConfig(variant="opera"), "variant"),
        (lambda: SpectrumConfig(fft_size=1021), "even"),
        (lambda: SpectrumConfig(hop=512), "hop"),
        (lambda: SpectrumConfig(bin_stride=3), "bin_stride"),
        (lambda: AudioEncoderConfig(convs=((4, 5, 1, 1),)), "odd"),
        (lambda: VoViTConfig(audio_encoder=AudioEncoderConfig(frequency_stride=3)), "divide"),
        (lambda: VoViTConfig(spectrum=SpectrumConfig(num_frames=100)), "heads"),
        (
            lambda: VoViTConfig(variant="speech", spectrum=SpectrumConfig(num_frames=80)),
            "enhancer of 6 blocks",
        ),
        (lambda: EnhancerConfig(channels=(8,)), "two"),
    ],
)
def test_nonsense_configs_are_refused_with_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_layer_of_a_stack_starts_from_its_own_weights():
    model = VoViT(VoViTConfig.demo())
    fusion = model.network.stage1.fusion
    for stack in (fusion.temporal, fusion.spectral, fusion.decoder):
        first, second = stack.layers[0], stack.layers[1]
        for name in ("qkv", "out", "expand", "contract"):
            assert not torch.equal(getattr(first, name).weight, getattr(second, name).weight)


def test_spectral_encoder_sees_the_temporal_positions(model):
    """Their effect in the official code, which adds them in place, must stay."""
    fusion = model.network.stage1.fusion
    seen = []
    hook = fusion.spectral.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    visual, audio = torch.zeros(1, 128, 6), torch.zeros(1, 128, 128)
    with torch.inference_mode():
        fusion(visual, audio)
    hook.remove()
    flat = torch.nn.functional.leaky_relu(fusion.adapt.bias, 0.1)
    expected = (flat + fusion.temporal_positions()).T + fusion.spectral_positions()
    assert torch.allclose(seen[0][0], expected, atol=1e-6)


def test_gradients_reach_every_weight_even_for_a_single_item():
    model = VoViT(tiny_config("speech")).set_mean_face(face()).train()
    model(noise(1, CLIP), moving_face(1, 50)).square().mean().backward()
    without = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert without == []


def test_an_item_does_not_depend_on_its_neighbours(model):
    mixture = noise(3, CLIP) * torch.tensor([[1.0], [0.1], [5.0]])
    landmarks = moving_face(3, 50)
    together = run(model, mixture, landmarks)
    alone = run(model, mixture[1:2], landmarks[1:2])
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    by_batch = run(model, mixture, landmarks, peak="batch")
    assert (by_batch[1] - alone[0]).abs().max() > 1e-2


def test_input_is_left_alone(model):
    mixture, landmarks = noise(1, CLIP), moving_face(1, 50)
    before = mixture.clone(), landmarks.clone()
    run(model, mixture, landmarks)
    assert torch.equal(mixture, before[0])
    assert torch.equal(landmarks, before[1])


def test_integer_samples_are_scaled(model):
    samples = (noise(1, CLIP) * 30_000).to(torch.int16)
    assert torch.equal(as_float(samples), samples.float() / 32_768)
    landmarks = moving_face(1, 50)
    assert torch.equal(run(model, samples, landmarks), run(model, samples / 32_768, landmarks))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8, torch.bool])
def test_other_number_formats_are_refused(model, dtype):
    mixture, landmarks = torch.zeros(1, CLIP, dtype=dtype), moving_face(1, 50)
    name = str(dtype).removeprefix("torch.")
    for call in (
        lambda: model(mixture, landmarks),
        lambda: model.separate(mixture, landmarks),
        lambda: model.estimate(mixture[:, :32_000], cues(landmarks)),
    ):
        with pytest.raises(ValueError, match=f"mixture is {name}; .*float32"):
            call()
    with pytest.raises(ValueError, match="mixture is int16"):
        model.estimate(torch.zeros(1, 32_000, dtype=torch.int16), cues(landmarks))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_model_in_another_number_format_says_what_to_do(dtype):
    model = tiny_model().to(dtype)
    for call in (
        lambda: model(noise(1, CLIP), moving_face(1, 50)),
        lambda: model.estimate(noise(1, 32_000), cues(moving_face(1, 50))),
    ):
        with pytest.raises(ValueError, match=r"keep them in float32 \(model.float\(\)\)"):
            call()


def test_empty_batches_are_refused(model):
    with pytest.raises(ValueError, match="nothing to separate"):
        model.estimate(torch.zeros(0, 32_000), cues(moving_face(1, 50)[:0]))
    with pytest.raises(ValueError, match="nothing to separate"):
        model(torch.zeros(0, CLIP), moving_face(1, 50)[:0])


def test_the_mouth_matters(model):
    mixture = noise(1, CLIP)
    one, other = (run(model, mixture, moving_face(1, 50, seed=s)) for s in (1, 7))
    assert (one - other).abs().max() > 1e-4


def test_silence_stays_silent_and_finite(model):
    assert run(model, torch.zeros(1, CLIP), moving_face(1, 50)).abs().max() == 0
    with torch.inference_mode():
        estimate = model.estimate(torch.zeros(1, 48_000), cues(moving_face(1, 75)))
    assert estimate.abs().max() == 0


@pytest.mark.parametrize(
    ("mixture", "landmarks", "message"),
    [
        (noise(1, CLIP + 1), moving_face(1, 50), "32767"),
        (noise(1, CLIP)[0], moving_face(1, 50), "32767"),
        (noise(2, CLIP), moving_face(1, 50), "one per face"),
        (noise(1, CLIP) * torch.nan, moving_face(1, 50), "mixture holds NaN"),
        (noise(1, CLIP), moving_face(1, 53), "50 landmark frames"),
        (noise(1, CLIP), moving_face(1, 60), "frame rate"),
        (noise(1, CLIP), moving_face(1, 50).transpose(2, 3), "last axis"),
        (noise(1, CLIP), moving_face(1, 50)[:, :, :60], "68, 3"),
        (noise(1, CLIP), moving_face(1, 50) * torch.nan, "not finite"),
        (noise(1, CLIP), moving_face(1, 50).flip(2), "iBUG order"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(model, mixture, landmarks, message):
    with pytest.raises(ValueError, match=message):
        run(model, mixture, landmarks)


def test_bad_sound_is_refused_at_any_length(model):
    landmarks = moving_face(1, 1)
    for call in (model.separate, lambda sound, points: model.estimate(sound, cues(points))):
        with pytest.raises(ValueError, match="empty"):
            call(torch.zeros(1, 0), landmarks)
        with pytest.raises(ValueError, match="NaN"):
            call(torch.full((1, 640), torch.inf), landmarks)
        with pytest.raises(ValueError, match=r"one per face|one face per mixture"):
            call(torch.zeros(2, 640), landmarks)
        with pytest.raises(ValueError, match="68, 3"):
            call(torch.zeros(1, 640), landmarks[:, :0])


def test_sound_at_another_rate_is_refused(model):
    with pytest.raises(ValueError, match="sample rate"):
        model.estimate(noise(1, 88_200), cues(moving_face(1, 50)))
    with pytest.raises(ValueError, match="sample rate"):
        model.separate(noise(1, 48_000), moving_face(1, 50))


def test_a_model_without_mean_face_says_what_to_do():
    model = VoViT(tiny_config())
    with pytest.raises(ValueError, match="set_mean_face"):
        model.estimate(noise(1, 32_000), cues(moving_face(1, 50)))
    with pytest.raises(ValueError, match="68, 3"):
        model.set_mean_face(torch.zeros(3, 68))


def test_the_mean_face_travels_with_the_weights():
    model = tiny_model()
    copy = VoViT(model.config)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.mean_face, face())


def test_lost_frames_are_bridged(model):
    mixture, landmarks = noise(1, CLIP), moving_face(1, 50)
    lost = landmarks.clone()
    lost[0, 20] = 0.0
    bridged = landmarks.clone()
    bridged[0, 20] = (landmarks[0, 19] + landmarks[0, 21]) / 2
    assert torch.allclose(run(model, mixture, lost), run(model, mixture, bridged), atol=1e-5)
    nobody = run(model, mixture, torch.zeros_like(landmarks))
    still = run(model, mixture, face().expand(1, 50, 68, 3))
    assert torch.allclose(nobody, still, atol=1e-5)


# --- any length


@pytest.mark.parametrize("samples", [640, 20_000, 32_000, 32_640, 50_001, 100_000])
def test_estimate_keeps_the_length(model, samples):
    landmarks = moving_face(2, max(1, round(samples / 640)))
    with torch.inference_mode():
        estimate = model.estimate(noise(2, samples), cues(landmarks))
    assert estimate.shape == (2, samples)
    assert estimate.dtype == torch.float32
    assert estimate.isfinite().all()


def test_estimate_follows_the_level(model):
    mixture, landmarks = noise(1, 60_000), moving_face(1, 94)
    with torch.inference_mode():
        loud = model.estimate(mixture, cues(landmarks))
        soft = model.estimate(mixture / 100, cues(landmarks))
    assert torch.allclose(loud, 100 * soft, atol=1e-4)
    assert loud.abs().max() > 1e-3


def test_the_network_gets_smoothed_and_registered_landmarks(model):
    landmarks = moving_face(1, 50) + 20.0
    seen = []
    hook = model.network.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    with torch.inference_mode():
        model.estimate(noise(1, 32_000), cues(landmarks))
        rounding = dataclasses.replace(model.config, round_landmarks=True)
        model.config, plain = rounding, model.config
        model.estimate(noise(1, 32_000), cues(landmarks))
        model.config = plain
    hook.remove()
    smoothed = smooth(landmarks)
    assert torch.allclose(seen[0], register(smoothed, face())[..., :2], atol=1e-3)
    assert torch.allclose(seen[1], register(smoothed.round(), face())[..., :2], atol=1e-3)
    assert (seen[0] - register(landmarks, face())[..., :2]).abs().max() > 0.5


@pytest.mark.slow
def test_a_minute_is_joined_without_clicks_or_steps(model):
    seconds = 60
    swell = 0.6 + 0.4 * torch.sin(torch.arange(seconds * 16_384) * 2 * torch.pi / 40_000)
    mixture, landmarks = noise(1, seconds * 16_384) * swell, moving_face(1, seconds * 25)
    with torch.inference_mode():
        separated = model.separate(mixture, landmarks, max_batch=4)
    assert separated.shape == mixture.shape
    steps = separated[0].diff().abs()
    level = separated[0][: separated.shape[1] // 512 * 512].view(-1, 512).square().mean(1).log()
    level_steps = level.diff().abs()
    plan = plan_chunks(mixture.shape[1], CLIP, 50, 10)
    edges = [s for _, s in plan.starts[1:]] + [s + CLIP for _, s in plan.starts[:-1]]
    at_joins = torch.cat([steps[s - 8 : s + 8] for s in edges])
    assert at_joins.quantile(0.99) <= steps.quantile(0.99) * 1.1
    assert at_joins.max() <= steps.max()
    near = torch.stack([level_steps[s // 512 - 1 : s // 512 + 1].max() for s in edges])
    assert near.quantile(0.9) <= level_steps.quantile(0.99)


@pytest.mark.slow
def test_chunks_go_through_in_groups_of_any_size(model):
    mixture, landmarks = noise(2, 100_000), moving_face(2, 153)
    with torch.inference_mode():
        results = [model.separate(mixture, landmarks, max_batch=n) for n in (1, 3, 99)]
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert torch.allclose(results[0], results[2], atol=1e-5)


# --- two stages


def test_a_second_stage_leaves_the_first_as_it_is():
    stage1 = tiny_model()
    model = VoViT.on_stage1(stage1).train()
    before = {k: v.clone() for k, v in model.network.stage1.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model(noise(2, CLIP), moving_face(2, 50)).square().mean().backward()
    optimizer.step()
    assert not model.network.stage1.training
    assert model.network.enhancer.training
    after = model.network.stage1.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.grad is None for p in model.network.stage1.parameters())
    assert all(p.grad is not None for p in model.network.enhancer.parameters())
    assert torch.equal(model.mean_face, stage1.mean_face)
    with pytest.raises(ValueError, match="speech-s1"):
        VoViT.on_stage1(model)


def test_an_untrained_enhancer_changes_little():
    details = run(
        VoViT.on_stage1(tiny_model()).eval(),
        noise(1, CLIP),
        moving_face(1, 50),
        return_details=True,
    )
    ratio = details.waveform.norm() / details.stage1_waveform.norm()
    assert 0.7 < ratio < 1.0


# --- precision and compilation


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_spectra_stay_in_float32_under_half_precision(model, dtype):
    mixture, landmarks = noise(1, CLIP), moving_face(1, 50)
    with torch.autocast("cpu", dtype=dtype):
        half = run(model, mixture, landmarks, return_details=True)
    full = run(model, mixture, landmarks, return_details=True)
    assert half.waveform.dtype == torch.float32
    assert half.mixture_spectrum.dtype == torch.complex64
    assert torch.equal(half.mixture_spectrum, full.mixture_spectrum)
    assert 0 < (half.waveform - full.waveform).abs().max() < 0.1


@pytest.mark.slow
def test_the_network_compiles_without_graph_breaks(model):
    mixture, points = noise(1, CLIP), moving_face(1, 50)[..., :2]
    compiled = torch.compile(model.network, backend="eager", fullgraph=True)
    with torch.no_grad():
        expected, got = model.network(mixture, points), compiled(mixture, points)
    assert torch.allclose(got.waveform, expected.waveform, atol=1e-6)


# --- official weights


def test_official_loading_needs_the_right_parts():
    with pytest.raises(ValueError, match="speech-s1"):
        load_official({}, variant="speech")
    with pytest.raises(ValueError, match="no enhancer"):
        load_official({}, {}, variant="singing")
    with pytest.raises(ValueError, match=r"626 missing: audio_network"):
        load_official({}, variant="speech-s1")
    with pytest.raises(ValueError, match="is missing"):
        load_official("nowhere.pth", variant="speech-s1")


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "vovit_speech.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_official(path, variant="speech-s1")
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="not hold a state dict"):
        load_official(path, variant="speech-s1")
