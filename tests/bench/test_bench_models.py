"""The benches of the models measure what they report; here with small models."""

import json
import sys

import pytest
import torch

from avsep.bench import timing
from avsep.bench.models import dolphin, dolphin_training, dolphin_windows, run, vovit
from avsep.bench.models import settings as bench_settings
from avsep.bench.models.report import report
from avsep.bench.text import markdown
from avsep.cli import main
from avsep.errors import UsageError
from avsep.evaluation.macs import counted_macs
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.models.vovit.config import VoViTConfig
from avsep.separation import windows as windows_module

SMALL_DOLPHIN = DolphinConfig.demo()


@pytest.fixture
def small(monkeypatch):
    """Small models, measured in this process."""
    monkeypatch.setattr(DolphinConfig, "full", classmethod(lambda cls: SMALL_DOLPHIN))
    monkeypatch.setattr(VoViTConfig, "full", VoViTConfig.demo)
    monkeypatch.setattr(bench_settings, "in_child", lambda job, *, timeout_s: job())
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return dolphin.draw_active_weights(Dolphin(SMALL_DOLPHIN)).eval()


@pytest.mark.slow
def test_dense_and_default_are_compared(small):
    settings = dolphin.DolphinBench(
        seconds=(0.4, 0.8), runs=2, warm_ups=0, threads=1, dense_up_to_s=0.5
    )
    announced = []
    result = dolphin.bench_dolphin(settings, announce=announced.append)
    assert result["parameters"] == sum(p.numel() for p in Dolphin(SMALL_DOLPHIN).parameters())
    rows = result["forward"]
    assert [(row["audio_s"], row["variant"]) for row in rows] == [
        (0.4, "dense fp32"),
        (0.4, "auto fp32"),
        (0.4, "auto bf16"),
        (0.8, "auto fp32"),
        (0.8, "auto bf16"),
    ]
    dense, default, half, *longer = rows
    assert dense["times_faster"] == 1
    assert default["times_faster"] == pytest.approx(dense["latency_s"] / default["latency_s"])
    assert dense["difference"] == 0
    assert 0 < default["difference"] < 5e-3 < half["difference"] < 0.5
    assert all("times_faster" not in row for row in longer)
    for row in rows:
        assert 0 < row["best_s"] <= row["latency_s"]
        assert min(row["cold_s"], row["peak_memory_mb"], row["macs_g"]) > 0
    assert len(announced) == 2
    text = report(json.loads(json.dumps(result)))
    assert "| auto bf16 " in text
    assert "MACs: convolutions" in text


@pytest.mark.slow
def test_the_blurs_formula_is_what_the_counter_counts(model):
    inputs = dolphin.random_inputs(dolphin.DolphinBench(), 1.6)
    by_mode = {heat: dolphin.dolphin_macs(model, heat, inputs) for heat in ("dense", "fft", "auto")}
    assert model.separator.encoder[0].locals[0].heat.blur_radius(200, "auto") is not None
    for heat, formula in by_mode.items():
        model.set_heat(heat)
        counted = counted_macs(lambda: model(*inputs))
        assert counted / 1e9 == pytest.approx(formula["macs_g"], rel=1e-6), heat
    assert by_mode["dense"]["macs_heat_g"] > by_mode["auto"]["macs_heat_g"] > 0


def test_attention_is_counted_on_the_cpu_too():
    query = torch.randn(1, 2, 30, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert counted_macs(lambda: attend(query, query, query)) == 2 * 2 * 30 * 30 * 8
    mask = torch.zeros(1, 2, 30, 30)
    assert counted_macs(lambda: attend(query, query, query, attn_mask=mask)) == 2 * 2 * 30 * 30 * 8


def test_active_weights_let_heat_matter(model):
    inputs = dolphin.random_inputs(dolphin.DolphinBench(), 0.8)
    with torch.no_grad():
        before = model(*inputs)
        for name, values in model.named_parameters():
            if name.endswith(".k"):
                values.mul_(3)
        after = model(*inputs)
        for name, values in model.named_parameters():
            if name.endswith(".k"):
                values.div_(3)
    assert (after - before).norm() > 0.05 * before.norm()


@pytest.mark.slow
def test_a_training_step_is_measured(small):
    settings = dolphin.DolphinBench(runs=1, warm_ups=0, threads=1)
    steps = dolphin_training.bench_steps(settings)
    assert [row["variant"] for row in steps] == ["dense fp32", "auto fp32", "auto bf16"]
    assert all(row["step_s"] > 0 and row["peak_memory_mb"] > 0 for row in steps)


@pytest.mark.slow
def test_long_recordings_are_separated_as_the_product_does(small, monkeypatch):
    separated = []
    separate = dolphin_windows.separate_recording

    def watch(recording, *arguments):
        separated.append(recording.timeline.num_samples)
        separate(recording, *arguments)

    monkeypatch.setattr(dolphin_windows, "separate_recording", watch)
    windows = dolphin_windows.bench_windows(dolphin.DolphinBench(threads=1), 9.0)
    assert windows["audio_s"] == 9.0
    assert windows["wall_per_s"] > 0
    assert separated == [4 * 16_000, 9 * 16_000]  # one window to warm up, then the recording
    assert windows_module.separate_recording is separate


def test_heat_is_measured_forward_and_backward(small, monkeypatch):
    monkeypatch.setattr(dolphin_training, "HEAT_SHAPE", (1, 300, 4))
    rows = dolphin_training.bench_heat(dolphin.DolphinBench(runs=1, threads=1))
    assert [row["way"] for row in rows] == ["filter", "fft", "whole layer, auto"]
    assert all(row["ratio"] == pytest.approx(row["backward_s"] / row["forward_s"]) for row in rows)


@pytest.mark.slow
def test_vovit_is_measured_row_by_row_beside_the_published_table(small):
    settings = vovit.VoViTBench(batch=1, runs=1, warm_ups=0, threads=1)
    result = vovit.bench_vovit(settings)
    assert [(row["variant"], row["precision"]) for row in result["rows"]] == [
        (variant, precision)
        for variant in ("speech-s1", "speech")
        for precision in ("fp32", "bf16 convs")
    ]
    for row in result["rows"]:
        assert all(row[name] > 0 for name in vovit.ROWS)
        assert (row["difference"] > 0) == (row["precision"] != "fp32")
    text = report(result)
    assert "52.21" in text
    assert "46.14" in text
    assert "batches of 1 chunks" in text
    assert "TF32 is off" in text


def test_formats_and_batch_follow_the_device():
    assert vovit.VoViTBench().chunks == vovit.CPU_BATCH
    on_gpu = vovit.VoViTBench(device="cuda")
    assert on_gpu.chunks == 100
    assert {"fp32", "fp32 tf32", "fp16"} <= set(on_gpu.formats)
    variants = dolphin.DolphinBench(device="cuda", compiled=True).variants(1.0)
    assert {v.name for v in variants} >= {"dense fp32", "auto fp16", "auto bf16 compiled"}


def test_runs_of_several_works_are_interleaved():
    order = []
    tasks = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = timing.interleaved(tasks, runs=3, warm_ups=1, device="cpu")
    assert order == ["a", "b"] * 4
    assert timings["a"].runs == 3
    with pytest.raises(ValueError, match="runs is 0"):
        timing.interleaved(tasks, runs=0, warm_ups=0, device="cpu")


def test_tables_are_aligned():
    rows = [{"a": 1.23456, "b": "x"}, {"a": None, "b": 0.000123}, {"a": 1234.5}]
    assert markdown({"a": "first", "b": "second"}, rows).splitlines() == [
        "| first | second  |",
        "| ----- | ------- |",
        "| 1.23  | x       |",
        "| –     | 1.2e-04 |",
        "| 1234  | –       |",
    ]


OPTIONS = {
    **dict.fromkeys(("seconds", "long", "weights", "backend"), ""),
    **dict.fromkeys(("train", "compile", "table", "json"), False),
    **{"batch": 0, "runs": 0, "warm_ups": -1, "threads": 0, "dense_up_to": 4.0, "device": "cpu"},
}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "whale"}, "dolphin, vovit"),
        ({"model": "dolphin", "seconds": "1,x"}, "commas"),
        ({"model": "dolphin", "seconds": "-1"}, "0.04"),
        ({"model": "dolphin", "batch": 3}, "--batch is not an option of dolphin"),
        ({"model": "vovit", "train": True}, "--train is not an option of vovit"),
        ({"model": "vovit", "device": "tpu"}, "cpu or cuda"),
        ({"model": "vovit", "runs": -1}, "at least 1"),
    ],
)
def test_bad_use_is_one_sentence(options, words):
    with pytest.raises(UsageError, match=words):
        run.run(**{**OPTIONS, **options})


def test_the_command_hands_over_all_options(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(run, "run", lambda **options: seen.append(options) or "done")
    arguments = ["--model", "dolphin", "--seconds", "1,2", "--device", "cpu", "--train", "--json"]
    monkeypatch.setattr(sys, "argv", ["avsep", "bench", "models", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    given = {"model": "dolphin", "seconds": "1,2", "train": True, "json": True}
    assert seen == [{**OPTIONS, **given}]
    assert capsys.readouterr().out == "done\n"
