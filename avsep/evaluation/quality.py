"""Quality of speech without a reference: DNSMOS and NISQA from torchmetrics.

Both need packages of the extra `quality` and model files of their authors. torchmetrics downloads
such files without a check and one of them runs in onnxruntime, so here a file is used only where it
lies already and has the known sha256; where none is known, the one that it had at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from avsep.errors import CheckError, UsageError
from avsep.evaluation.problems import Problem
from avsep.files import read_json, sha256_file, write_json
from avsep.schema import RATE_HZ

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "dnsmos": ("librosa", "onnxruntime", "requests"),
    "nisqa": ("librosa", "requests"),
}
MEASURES = tuple(PACKAGES)
# Where torchmetrics looks for them, below `~/.torchmetrics`, and their sha256. Those of DNSMOS are
# of microsoft/DNS-Challenge at 591184a, as other projects pin them; none was found for NISQA.
FILES: Mapping[str, Mapping[str, str]] = {
    "dnsmos": {
        "DNSMOS/DNSMOS/model_v8.onnx": (
            "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91"
        ),
        "DNSMOS/DNSMOS/sig_bak_ovr.onnx": (
            "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd"
        ),
        "DNSMOS/pDNSMOS/sig_bak_ovr.onnx": (
            "9e3a197449ca2177f0997afec3bd6b890117ce2f17b89d6eea7fa0d47272c81c"
        ),
    },
    "nisqa": {"NISQA/nisqa.tar": ""},
}
PINS = "avsep-sha256.json"
_DNSMOS = ("dnsmos_p808", "dnsmos_sig", "dnsmos_bak", "dnsmos_ovr")


def check_measures(measures: Sequence[str], folder: Path | None = None) -> None:
    """Pass if packages and model files of some measures are here, and the files are unchanged.

    Args:
        measures: names of `MEASURES`.
        folder: folder of the model files; that of torchmetrics if None.

    Raises:
        UsageError: a measure is unknown, or a package or file is missing.
        CheckError: a file is not the known one, or has changed since it was first used.
    """
    folder = folder or Path.home() / ".torchmetrics"
    path = folder / PINS
    for measure in measures:
        if measure not in PACKAGES:
            raise UsageError(f"there is no measure {measure!r}; there are {', '.join(MEASURES)}.")
        if missing := [name for name in PACKAGES[measure] if find_spec(name) is None]:
            raise UsageError(
                f"{measure} needs the package(s) {', '.join(missing)}:"
                " `pip install 'avsep[quality]'`."
            )
        for name, known in FILES[measure].items():
            if not (folder / name).is_file():
                raise UsageError(
                    f"{measure} needs the model file {folder / name}, which torchmetrics names the"
                    " source of; put it there."
                )
            found = sha256_file(folder / name)
            if known and found != known:
                raise CheckError(
                    f"{folder / name} has the sha256 {found}, not {known}, that of its authors;"
                    " remove it, and download it again."
                )
            if known:
                continue
            pins = read_json(path) if path.exists() else {}
            if pins.setdefault(name, found) != found:
                raise CheckError(
                    f"{folder / name} has the sha256 {found}, not {pins[name]} as when it was first"
                    " used."
                )
            write_json(path, pins)


def quality_scores(
    sound: np.ndarray, measures: Sequence[str]
) -> tuple[dict[str, float], dict[str, Problem]]:
    """The values of some measures, each about 1 (bad) to 5, and the problems of the others.

    Args:
        sound: (N,) float32 at 16 kHz.
        measures: names of `MEASURES`, checked by `check_measures`.
    """
    found: dict[str, float] = {}
    problems: dict[str, Problem] = {}
    for measure in measures:
        try:
            found |= _MEASURES[measure](sound)
        except RuntimeError:  # NISQA refuses what is too long for it, or too short
            problems[measure] = Problem.CRASHED
    return found, problems


def _dnsmos(sound: np.ndarray) -> dict[str, float]:
    import torch
    from torchmetrics.functional.audio.dnsmos import deep_noise_suppression_mean_opinion_score

    values = deep_noise_suppression_mean_opinion_score(
        torch.from_numpy(sound), RATE_HZ, personalized=False
    )
    return dict(zip(_DNSMOS, map(float, values), strict=True))


def _nisqa(sound: np.ndarray) -> dict[str, float]:
    import torch
    from torchmetrics.functional.audio.nisqa import non_intrusive_speech_quality_assessment

    values = non_intrusive_speech_quality_assessment(torch.from_numpy(sound), RATE_HZ)
    return {"nisqa_mos": float(values[0])}


_MEASURES: Mapping[str, Callable[[np.ndarray], dict[str, float]]] = {
    "dnsmos": _dnsmos,
    "nisqa": _nisqa,
}
