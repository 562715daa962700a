"""The Triton kernels, in Triton's interpreter on the CPU, against the layers that they replace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed; `make test-kernels` fetches it")
CHECKS = Path(__file__).parents[1] / "support" / "gpu_kernel_checks.py"


@pytest.mark.slow
def test_each_kernel_equals_the_layer_that_it_replaces():
    # Triton decides when it is imported whether it interprets, so this needs a fresh process.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.gpu_kernel_checks"],
        env=environment, cwd=CHECKS.parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "equal"
