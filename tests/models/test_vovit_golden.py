"""VoViT gives what the official code gives, number by number."""

import csv
import hashlib

import numpy as np
import pytest
import torch

from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.graph import adjacency, nearest_frames
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.registration import register
from avsep.models.vovit.state_dict_adapter import official_enhancer_name, official_stage1_name
from avsep.models.vovit.stft import _window, stft
from avsep.models.vovit.transformer import position_table
from tests.support import vovit_rule as rule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(name):
    with np.load(rule.GOLDEN / name, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture(scope="module")
def synth():
    return load("speech_synth.npz")


@pytest.fixture(scope="module")
def modules():
    return load("modules.npz")


@pytest.fixture(scope="module")
def model():
    return rule.golden_model("speech")


@pytest.fixture(scope="module")
def inputs(synth):
    landmarks = torch.from_numpy(synth["landmarks"].astype(np.float32)).transpose(2, 3)
    return torch.from_numpy(synth["mixture"]), landmarks


@pytest.fixture(scope="module")
def run(model, inputs):
    """Details of one forward pass, and the outputs of the modules on the way."""
    seen = {}
    stage1 = model.network.stage1
    watched = {
        "graph_block0": stage1.graph.blocks[0],
        "graph_block2": stage1.graph.blocks[2],
        "graph_out": stage1.graph.blocks[7],
        "visual": stage1.graph,
        "audio": stage1.audio_encoder,
        "adapt": stage1.fusion.adapt,
        "temporal_layer0": stage1.fusion.temporal.layers[0],
        "temporal": stage1.fusion.temporal,
        "spectral_layer0": stage1.fusion.spectral.layers[0],
        "spectral": stage1.fusion.spectral,
        "decoder": stage1.fusion.decoder,
    }

    def keep(key):
        return lambda module, args, output: seen.__setitem__(key, output.clone())

    hooks = [module.register_forward_hook(keep(key)) for key, module in watched.items()]
    with torch.inference_mode():
        details = model(*inputs, peak="batch", return_details=True)
    for hook in hooks:
        hook.remove()
    return details, seen


def assert_close(ours, golden, atol):
    ours = ours.detach().numpy()
    assert ours.shape == golden.shape
    np.testing.assert_allclose(ours, golden, rtol=0, atol=atol)


def test_masks_and_waveforms_of_both_stages(run, synth):
    details, _ = run
    assert_close(details.logits[..., ::2, ::2], synth["logits_mask"], 3e-4)
    assert_close(details.stage1_waveform, synth["s1_est_wav"], 1e-4)
    assert_close(details.enhancer_mask[..., ::2, ::2], synth["ref_mask"], 4e-4)
    assert_close(details.waveform, synth["ref_est_wav"], 1e-4)


def test_spectra(run, synth):
    details, _ = run
    mask = torch.view_as_real(details.mask)
    assert_close(mask[:, ::8, ::8], synth["inference_mask_sub"], 6e-4)
    assert_close(details.mixture_spectrum[:, ::4, ::4], synth["mix_sp_sub"], 1e-2)
    stage1 = torch.view_as_real(details.stage1_spectrum)
    assert_close(stage1[:, ::4, ::4], synth["s1_sp_sub"], 1e-2)
    last = torch.view_as_real(details.spectrum)
    assert_close(last[:, ::4, ::4], synth["ref_est_sp_sub"], 1e-2)


def test_graph_network(run, synth):
    _, seen = run
    assert_close(seen["graph_block0"][:1, ::4, ::5], synth["graph_block0"], 1e-4)
    assert_close(seen["graph_block2"][:1, ::8, ::5], synth["graph_block2"], 1e-4)
    assert_close(seen["graph_out"][:1, ::16, ::5], synth["graph_out_sub"], 1e-4)
    pooled = seen["graph_out"].mean(-1)
    assert_close(pooled, synth["graph_pooled"], 1e-4)
    assert_close(seen["visual"][:, ::2, ::2], synth["visual_feats"], 1e-4)


def test_audio_encoder(run, synth):
    _, seen = run
    assert_close(seen["audio"].transpose(1, 2)[:, ::8, ::8], synth["audio_feats_sub"], 1e-4)


def test_transformer(run, synth):
    _, seen = run
    adapted = torch.nn.functional.leaky_relu(seen["adapt"], 0.1)
    assert_close(adapted[:, ::4, ::4], synth["adapt_sub"], 3e-4)
    for key in ("temporal_layer0", "spectral_layer0"):
        assert_close(seen[key].transpose(0, 1)[::4, :, ::4], synth[f"{key}_sub"], 3e-4)
    for key in ("temporal", "spectral"):
        assert_close(seen[key].transpose(0, 1)[::4, :, ::4], synth[f"{key}_enc_sub"], 3e-4)
    memory = seen["temporal"] + seen["spectral"].transpose(1, 2)
    assert_close(memory.transpose(0, 1)[::4, :, ::4], synth["memory_sub"], 3e-4)
    assert_close(seen["decoder"].transpose(0, 1)[::4, :, ::4], synth["decoder_sub"], 3e-4)


def test_audio_encoder_in_training_order_equals_the_folded_one(model, inputs, synth):
    mixture = inputs[0][:1]
    encoder = model.network.stage1.audio_encoder
    spectrum = model.network.mixture_spectrum(mixture / inputs[0].abs().max())
    kept = torch.view_as_real(spectrum[:, ::2]).permute(0, 3, 2, 1)
    with torch.inference_mode():
        x = encoder.layers[0].conv(kept)
        assert_close(x[:1, ::16, ::8, ::8], synth["audio_conv1_sub"], 1e-4)
        x = torch.nn.functional.leaky_relu(encoder.layers[0].norm(x), 0.1)
        for layer in encoder.layers[1:7]:
            x = layer(x)
        x = encoder.layers[7].norm(encoder.layers[7].conv(x))
        assert_close(x[:1, ::16, ::8, ::8], synth["audio_bn8_sub"], 1e-4)


def test_enhancer_alone(model, modules):
    rng = np.random.Generator(np.random.PCG64(11))
    magnitude = np.abs(rng.standard_normal((1, 1, 512, 128))).astype(np.float32)
    np.testing.assert_array_equal(magnitude[:, :, ::16, ::16], modules["unet_in_sub"])
    enhancer, seen = model.network.enhancer, {}
    hooks = [
        block.register_forward_hook(lambda m, a, y, key=f"enc{i}": seen.__setitem__(key, y))
        for i, block in enumerate(enhancer.down)
    ]
    with torch.inference_mode():
        mask = enhancer(torch.from_numpy(magnitude[0]))
    for hook in hooks:
        hook.remove()
    assert_close(mask[0, ::2, ::2], modules["unet_out"], 4e-4)
    for i in range(6):
        skip = torch.nn.functional.leaky_relu(seen[f"enc{i}"], 0.1)
        height, width = skip.shape[-2:]
        cut = skip[0, ::16, :: max(1, height // 16), :: max(1, width // 8)]
        assert_close(cut, modules[f"unet_enc{i}_sub"], 1e-4)


def test_single_layers(model, modules):
    stage1 = model.network.stage1
    with torch.inference_mode():
        x = torch.from_numpy(modules["enc_layer_in"]).transpose(0, 1)
        y = stage1.fusion.decoder.layers[0](x).transpose(0, 1)
        assert_close(y, modules["enc_layer_out"], 1e-5)
        x = torch.from_numpy(modules["gcn_block2_in"])
        y = stage1.graph.blocks[2](x, stage1.graph.edges)
        assert_close(y, modules["gcn_block2_out"], 1e-5)


def test_constants(modules):
    assert_close(adjacency(), modules["graph_A"], 1e-7)
    assert_close(position_table(128, 512)[:, ::4], modules["pos_temporal"], 1e-6)
    assert_close(position_table(512, 128)[::4], modules["pos_spectral"], 1e-6)
    assert_close(_window(1022, torch.device("cpu")), modules["window"], 1e-7)


def test_spectrum_of_a_clip(modules):
    spectrum = stft(rule.synth_audio(0, 32767)[None], VoViTConfig.full("speech").spectrum)
    assert spectrum.shape == (1, 512, 128)
    assert_close(torch.view_as_real(spectrum)[0, ::4, ::4], modules["stft_sub"], 1e-3)


def test_nearest_resize_takes_the_earlier_frame():
    frames = nearest_frames(torch.arange(50.0)[None, :, None], 128)[0, :, 0]
    assert frames[:9].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3]
    assert frames[-1] == 49


def test_registration(synth):
    arrays = load("kabsch.npz")
    points = torch.from_numpy(arrays["landmarks"]).transpose(1, 2)
    face = torch.from_numpy(arrays["mean_face"]).T
    expected = arrays["registered_per_frame"].transpose(0, 2, 1)
    assert_close(register(points, face), expected, 1e-3)
    clips = torch.from_numpy(synth["landmarks"].astype(np.float32)).transpose(2, 3)
    assert_close(register(clips, face), synth["registered"].transpose(0, 1, 3, 2), 1e-3)


def test_inputs_of_the_rule(synth):
    np.testing.assert_array_equal(rule.synth_audio(1, 32767).numpy(), synth["mixture"][1])
    expected = synth["landmarks"][1].transpose(0, 2, 1)
    np.testing.assert_array_equal(rule.synth_landmarks(1, 50).numpy(), expected)


def rounding_noise(modules, unit_roundoff):
    """The largest noise, as a share of the signal's power, that rounding in networks may cause.

    A layer rounds its inputs, weights and outputs, each by a relative error of at most the unit
    roundoff u with a random sign; the noise of successive layers adds up in power: 3 u^2 per layer.
    The layers behind may double the amplitude of what they are given. No processor computes worse:
    how it adds up products (AMX, AVX-512 or none of them) moves the result within this bound.
    """
    layers = (torch.nn.Conv2d, torch.nn.Linear)
    depth = sum(isinstance(m, layers) for module in modules for m in module.modules())
    return 2**2 * 3 * depth * unit_roundoff**2


def assert_within_noise(estimate, golden, share):
    error = estimate - golden
    assert error.abs().max() > 1e-6, "computed in full precision"
    assert error.square().mean() < share * golden.square().mean()
    assert error.abs().max() < share**0.5 * golden.abs().max()


@pytest.fixture
def loudest(model, inputs, run):
    """The item that had the batch's peak, which alone must come out as in the batch; its details.

    Values that a batch's peak scales would otherwise differ.
    """
    mixture, landmarks = inputs
    number = int(mixture.abs().amax(1).argmax())
    item = (mixture[number : number + 1], landmarks[number : number + 1])
    enhancer = model.network.enhancer
    yield item, run[0].stage1_waveform[number], run[0].waveform[number]
    model.network.enhancer = enhancer
    model.use_precision()


@torch.inference_mode()
def test_bfloat16_stays_near(model, loudest):
    item, _, golden = loudest
    estimate = model.use_precision(torch.float32, torch.bfloat16)(*item)[0]
    bound = rounding_noise([model.network.stage1.audio_encoder], 2**-8)
    assert_within_noise(estimate, golden, bound)


@torch.inference_mode()
def test_float16_stays_near(model, loudest):
    """The networks that a CPU can compute in float16 within seconds, and the range of the others.

    Without instructions for float16 the convolutions of the audio encoder and the enhancer take
    minutes. They lose less in float16 than in bfloat16, except for its range.
    """
    item, golden, _ = loudest
    stage1 = model.network.stage1
    largest = []
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: largest.append(float(out.abs().max())))
        for network in (stage1.audio_encoder, model.network.enhancer)
        for layer in network.modules()
        if not list(layer.children())
    ]
    model(*item)
    for hook in hooks:
        hook.remove()
    assert len(largest) > 25
    assert max(largest) < torch.finfo(torch.float16).max / 2
    model.network.enhancer = None
    estimate = model.use_precision(torch.float16, torch.float32)(*item)[0]
    assert_within_noise(estimate, golden, rounding_noise([stage1.graph, stage1.fusion], 2**-11))


@pytest.mark.parametrize(
    ("variant", "table", "parameters"),
    [
        ("speech-s1", "s1-speech", 51_978_024),
        ("speech", "speech-full", 60_076_585),
        ("singing", "singing", 26_736_552),
    ],
)
def test_counts_names_and_shapes(variant, table, parameters):
    with torch.device("meta"):
        model = VoViT(VoViTConfig.full(variant))
    assert sum(p.numel() for p in model.parameters()) == parameters
    prefixes = ("avse.av_se.", "avse.unet.") if variant == "speech" else ("", "")
    ours = {
        prefixes[0] + official_stage1_name(name): value
        for name, value in model.network.stage1.state_dict().items()
    }
    if model.network.enhancer is not None:
        for name, value in model.network.enhancer.state_dict().items():
            ours[prefixes[1] + official_enhancer_name(name)] = value
    described = {
        name: ("x".join(map(str, v.shape)) or "scalar", str(v.dtype).removeprefix("torch."))
        for name, v in ours.items()
    }
    with (rule.GOLDEN / f"vovit-state-dict-{table}.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert described == {row["name"]: (row["shape"], row["dtype"]) for row in rows}


def test_rule_fills_as_when_the_numbers_were_made(model):
    """Hashes of every enhancer tensor and of the small ones of stage 1."""
    with (rule.GOLDEN / "weights_sha256.tsv").open(newline="") as file:
        rows = {(r["model"], r["name"]): r for r in csv.DictReader(file, delimiter="\t")}
    parts = [
        ("speech_s1", model.network.stage1, official_stage1_name),
        ("speech_unet", model.network.enhancer, official_enhancer_name),
    ]
    checked = 0
    for part, module, official_name in parts:
        for name, value in module.state_dict().items():
            row = rows[part, official_name(name)]
            if value.numel() > 100_000 or name.endswith(("positions.weight", "graph.edges")):
                continue
            digest = hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
            assert digest == row["sha256_of_little_endian_bytes"], name
            checked += 1
    assert checked > 500


def test_singing_loads_strictly_and_runs_the_same_each_time():
    model = rule.golden_model("singing")
    mixture = rule.synth_audio(3, 65535)[None]
    landmarks = rule.synth_landmarks(3, 100)[None, :, :, :2]
    with torch.inference_mode():
        first, second = (model(mixture, landmarks) for _ in range(2))
    assert first.shape == (1, 65535)
    assert first.isfinite().all()
    assert torch.equal(first, second)
