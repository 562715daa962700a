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


@pytest.mark.parametrize(
    ("tf32_s", "bf16_s", "wanted"),
    [(0.02, 0.03, "tf32"), (0.02, 0.01, "bf16"), (0.04, 0.02, "bf16"), (0.04, 0.04, "fp32")],
)
def test_on_a_gpu_auto_tries_tf32_too(monkeypatch, switches, tf32_s, bf16_s, wanted):
    clock, allowed = 0.0, set()

    def step(precision):
        nonlocal clock
        clock += {"fp32": 0.04, "tf32": tf32_s, "bf16": bf16_s}[precision.name]
        if torch.backends.cudnn.allow_tf32:
            allowed.add(precision.name)

    monkeypatch.setattr("avsep.training.precision.time.perf_counter", lambda: clock)
    choice = time_precisions(step, "cuda")
    assert choice.name == wanted
    assert "0.040 s in fp32, " in choice.reason
    assert allowed == {"tf32", "bf16"}


@pytest.fixture
def switches():
    """PyTorch's switches, put back afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    yield matmul, cudnn
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize(("name", "tf32"), [("fp32", False), ("tf32", True), ("bf16", True)])
def test_the_format_alone_decides_on_tf32(switches, name, tf32):
    for before in (False, True):
        for part in switches:
            part.allow_tf32 = before
        if name in ("fp32", "bf16"):
            Precision(name, "cpu").set_up()  # leaves a GPU's switches alone
        assert all(part.allow_tf32 == before for part in switches)
        Precision(name, "cuda").set_up()
        assert all(part.allow_tf32 == tf32 for part in switches)


@pytest.mark.parametrize("name", ["fp16", "tf32"])
def test_fp16_and_tf32_want_a_gpu(name):
    with pytest.raises(UsageError, match=f"{name} needs a GPU"):
        Precision(name, "cpu")


def test_bf16_computes_in_bf16_and_fp32_does_not():
    a = torch.ones(4, 4)
    with Precision("bf16", "cpu").autocast():
        assert (a @ a).dtype == torch.bfloat16
    with Precision("fp32", "cpu").autocast():
        assert (a @ a).dtype == torch.float32


def test_a_checkpoint_of_another_format_is_refused():
    with pytest.raises(UsageError, match="trained in bf16"):
        Precision("fp32", "cpu").load(Precision("bf16", "cpu").state())
