"""Settings of the engine that runs landmark networks in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from avsep.settings import build
from avsep.validation import check_at_least, check_choice, check_range

GPU_BATCH, CPU_BATCH = 64, 8
WINDOW = 8
LITERT = "litert"


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the networks of the backend `mediapipe`: options in `extract.backend_options`.

    Attributes:
        engine: `litert` (one CPU core per process), `torch` (batches of all processes together, on
            one device), or `auto`: `torch` where PyTorch sees a GPU.
        device: of `torch`: `auto`, `cpu`, `cuda` (every GPU that is visible) or e.g. `cuda:1`.
        precision: of the mesh network of `torch`: `float`, `half`, or `auto`: `half` on GPUs.
        batch: pictures per batch of `torch`; 0 for 64 on GPUs and 8 on CPUs.
        window: frames of a clip that `torch` estimates at once; 0 for 8.
    """

    engine: Literal["auto", "litert", "torch"] = "litert"
    device: str = "auto"
    precision: Literal["auto", "float", "half"] = "auto"
    batch: int = 0
    window: int = 0

    def __post_init__(self) -> None:
        check_choice(self, ("auto", "litert", "torch"), "engine")
        check_choice(self, ("auto", "float", "half"), "precision")
        check_range(self, 0, 1024, "batch")
        check_at_least(self, 0, "window")


def resolved_engine(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with everything that is `auto` decided on this machine.

    Returns:
        Nothing for LiteRT, which has no options; else values of every option of `EngineConfig`.

    Raises:
        UsageError: an option has a value that it cannot have.
        ValueError: LiteRT gets options of `torch`.
    """
    config = build(EngineConfig, dict(options), "extract.backend_options")
    gpu = config.engine != LITERT and config.device == "auto" and _sees_gpu()
    device = ("cuda" if gpu else "cpu") if config.device == "auto" else config.device
    on_gpu = device.startswith("cuda")
    if config.engine == LITERT or (config.engine == "auto" and not on_gpu):
        if config.engine == LITERT and (given := sorted(options.keys() - {"engine"})):
            raise ValueError(f"{', '.join(given)}: only the engine torch has such an option.")
        return {}
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


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
