"""A bare GPU machine has torch, lightning, numpy, pyarrow and little else."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys

MISSING = {
    "prefect", "dvc", "dvclive", "webdataset", "av", "soundfile", "soxr", "safetensors", "cv2",
    "numba", "ffmpeg", "imageio_ffmpeg", "jinja2", "pesq", "pystoi", "ai_edge_litert",
}
# Imported by the first kernel that a GPU with Triton runs.
NEED_TRITON = {
    "avsep.models.gpu.block_kernels",
    "avsep.models.gpu.channel_kernels",
    "avsep.models.gpu.kernels",
    "avsep.models.gpu.row_kernels",
    "avsep.models.gpu.vovit_kernels",
}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"{name} is not on a bare machine", name=name)


sys.meta_path.insert(0, Absent())
import pipeline.train
assert "torch" not in sys.modules, "the command line would wait for torch"
import pkgutil
import importlib
import avsep.models, avsep.training, avsep.loading, avsep.mixing
names = 0
for package in (avsep.models, avsep.training, avsep.loading, avsep.mixing):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in NEED_TRITON:
            importlib.import_module(module.name)
            names += 1
from avsep.shards.store import ShardStore
import avsep.bench.models.run
print(names)
"""

BENCH = """
import runpy
sys.argv = ["avsep", "bench", "models", "--model", "whale"]
runpy.run_module("avsep", run_name="__main__")
"""


@pytest.mark.slow
def test_everything_for_training_imports_on_a_bare_machine():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 40


@pytest.mark.slow
def test_the_models_are_measured_on_a_bare_machine_too():
    absent = CODE[: CODE.index("import pipeline")]
    done = subprocess.run(
        [sys.executable, "-c", absent + BENCH],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "avsep: --model is 'whale'; it may be dolphin, vovit." in done.stderr
