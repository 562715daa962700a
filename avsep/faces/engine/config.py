"""Settings of what runs the landmark networks of the backend `mediapipe`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from avsep.settings import build
from avsep.validation import check_at_least, check_choice, check_range

GPU_BATCH, CPU_BATCH = 64, 8
WINDOW, OPENVINO_WINDOW = 8, 4
PROCESSOR = Path("/proc/cpuinfo")
# The options of engines that do not have all of `EngineConfig`, besides `engine`.
OPTIONS = {"litert": frozenset[str](), "openvino": frozenset({"window"})}


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the networks of the backend `mediapipe`: options in `extract.backend_options`.

    Attributes:
        engine: `litert` (one CPU core per process), `openvino` (the same, but OpenVINO runs the
            landmark network for several frames at once), `torch` (batches of all processes
            together, on one device), or `auto`: `torch` where PyTorch sees a GPU, else `openvino`
            where it is installed and the processor is an Intel one, else `litert`.
        device: of `torch`: `auto`, `cpu`, `cuda` (every GPU that is visible) or e.g. `cuda:1`.
        precision: of the mesh network of `torch`: `float`, `half`, or `auto`: `half` on GPUs.
        batch: pictures per batch of `torch`; 0 for 64 on GPUs and 8 on CPUs.
        window: frames of a clip that are estimated at once; 0 for 4 with `openvino` and 8 with
            `torch`.
    """

    engine: Literal["auto", "litert", "openvino", "torch"] = "litert"
    device: str = "auto"
    precision: Literal["auto", "float", "half"] = "auto"
    batch: int = 0
    window: int = 0

    def __post_init__(self) -> None:
        check_choice(self, ("auto", "litert", "openvino", "torch"), "engine")
        check_choice(self, ("auto", "float", "half"), "precision")
        check_range(self, 0, 1024, "batch")
        check_at_least(self, 0, "window")


def resolved_engine(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with everything that is `auto` decided on this machine.

    Returns:
        Nothing for LiteRT, which has no options; engine and window of OpenVINO; else values of
        every option of `EngineConfig`.

    Raises:
        UsageError: an option has a value that it cannot have.
        ValueError: an engine gets options of another.
    """
    config = build(EngineConfig, dict(options), "extract.backend_options")
    known = OPTIONS.get(config.engine, options.keys())
    if unknown := sorted(options.keys() - known - {"engine"}):
        raise ValueError(f"the engine {config.engine} has no option {', '.join(unknown)}.")
    gpu = config.engine not in OPTIONS and config.device == "auto" and _sees_gpu()
    device = ("cuda" if gpu else "cpu") if config.device == "auto" else config.device
    on_gpu = device.startswith("cuda")
    engine = config.engine
    if engine == "auto" and not on_gpu:
        engine = "openvino" if _openvino_is_faster() else "litert"
    if engine == "litert":
        return {}
    if engine == "openvino":
        return {"engine": engine, "window": config.window or OPENVINO_WINDOW}
    half = config.precision == "half" or (config.precision == "auto" and on_gpu)
    return asdict(
        EngineConfig(
            engine="torch",
            device=device,
            precision="half" if half else "float",
            batch=config.batch or (GPU_BATCH if on_gpu else CPU_BATCH),
            window=config.window or WINDOW,
        )
    )


def _openvino_is_faster() -> bool:
    """Whether it was measured to be faster on processors like this one, and can be used."""
    if find_spec("openvino") is None or not PROCESSOR.is_file():
        return False
    return "GenuineIntel" in PROCESSOR.read_text("utf-8", "replace")


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
