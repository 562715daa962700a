"""The Triton kernels, in Triton's interpreter on the CPU, against the layers that they replace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed; `make test-kernels` fetches it")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("checks", ["gpu_kernel_checks", "vovit_kernel_checks"])
def test_each_kernel_equals_the_layer_that_it_replaces(checks):
    # Triton decides when it is imported whether it interprets, so this needs a fresh process.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", f"tests.support.{checks}"],
        env=environment, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "equal"


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_each_kernel_compiles_for_a_gpu(capability):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.gpu_kernel_compiles", capability],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "compiled"
