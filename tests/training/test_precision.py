import pytest
import torch

from avsep.errors import UsageError
from avsep.training.precision import Precision, time_precisions


@pytest.mark.parametrize(
    ("fp32_s", "bf16_s", "wanted"),
    [(0.03, 0.01, "bf16"), (0.43, 0.40, "bf16"), (0.01, 0.03, "fp32"), (0.02, 0.02, "fp32")],
)
def test_auto_takes_the_format_that_is_clearly_faster(monkeypatch, fp32_s, bf16_s, wanted):
    clock = 0.0

    def step(precision):
        nonlocal clock
        clock += {"fp32": fp32_s, "bf16": bf16_s}[precision.name]

    monkeypatch.setattr("avsep.training.precision.time.perf_counter", lambda: clock)
    choice = time_precisions(step, "cpu")
    assert choice.name == wanted
    assert f"{fp32_s:.3f} s in fp32 and {bf16_s:.3f} s in bf16" in choice.reason


def test_fp16_wants_a_gpu():
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        Precision("fp16", "cpu")


def test_bf16_computes_in_bf16_and_fp32_does_not():
    a = torch.ones(4, 4)
    with Precision("bf16", "cpu").autocast():
        assert (a @ a).dtype == torch.bfloat16
    with Precision("fp32", "cpu").autocast():
        assert (a @ a).dtype == torch.float32


def test_a_checkpoint_of_another_format_is_refused():
    with pytest.raises(UsageError, match="trained in bf16"):
        Precision("fp32", "cpu").load(Precision("bf16", "cpu").state())
