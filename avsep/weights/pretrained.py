"""Models by the name of a folder, or of a repository of the Hugging Face Hub; and their cards."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from avsep.downloading import download
from avsep.errors import UsageError
from avsep.models import checkpoint
from avsep.models.registry import model_name
from avsep.weights.store import store_folder

HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_METRICS = ("si_snri", "sdri", "pesq", "stoi", "both_right", "overlap", "worse")


def from_pretrained(
    name: str | Path, *, revision: str = "main", device: str = "cpu", store: Path | None = None
) -> nn.Module:
    """Load a model in eval mode from a local folder or from the hub.

    A model of the hub is a repository with `card.json` and `model.safetensors`, as `avsep publish`
    prepares it. It is downloaded once per revision; the card has the hash of the weights.

    Args:
        name: path of a model folder, its card or its weights; or `<owner>/<repository>`.
        revision: branch, tag or commit of the repository; a commit never changes.
        device: `cpu` or `cuda`.
        store: folder for downloaded models; that of `avsep weights` if None.

    Raises:
        UsageError: there is no such folder, and the name is not that of a repository.
        CheckError: the model cannot be downloaded, is damaged, or does not fit its card.
    """
    path = Path(name)
    if path.exists():
        return checkpoint.load(path, device)
    text = str(name)
    if not _REPOSITORY.fullmatch(text) or ".." in text:
        raise UsageError(f"{text} is neither a model folder nor of the form <owner>/<repository>.")
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise UsageError(f"revision is {revision!r}, which is not a branch, tag or commit.")
    folder = (store or store_folder()) / "hub" / text.replace("/", "--") / revision
    base = f"{os.environ.get(HUB_VARIABLE) or HUB}/{text}/resolve/{revision}"
    # The card comes last: a folder with a card is complete.
    for part in (checkpoint.SAFETENSORS, checkpoint.CARD):
        if not (folder / checkpoint.CARD).is_file():
            download(f"{base}/{part}", folder / part)
    return checkpoint.load(folder, device)


def hub_head(
    card: Mapping[str, Any], metrics: Mapping[str, float], data: Mapping[str, str]
) -> dict:
    """The YAML head of a model's README on the hub.

    Args:
        card: card of the model.
        metrics: what `metrics.json` of its evaluation has; empty for none.
        data: licence by corpus of the data that it was trained on.
    """
    title = model_name(card)
    head: dict[str, Any] = {
        "library_name": "avsep",
        "license": "other",
        "license_name": "see-card",
        "pipeline_tag": "audio-to-audio",
        "tags": ["speech-separation", "audio-visual", title],
        "datasets": sorted(data),
    }
    known = {name: float(metrics[name]) for name in _METRICS if name in metrics}
    if known:
        head["metrics"] = list(known)
        head["model-index"] = [
            {
                "name": title,
                "results": [
                    {
                        "task": {"type": "audio-to-audio", "name": "speech separation"},
                        "dataset": {
                            "type": "-".join(sorted(data)) or "unknown",
                            "name": "test mixtures of the project",
                        },
                        "metrics": [
                            {"type": name, "value": value} for name, value in known.items()
                        ],
                    }
                ],
            }
        ]
    return head


def hub_body(card: Mapping[str, Any], data: Mapping[str, str], repository: str) -> list[str]:
    """The text of a model's README on the hub; see `hub_head`."""
    title = model_name(card)
    return [
        f"# {title}",
        "",
        f"Audio-visual speech separation, {int(card.get('parameters', 0)):,} parameters, trained"
        " with avsep. Given a mixture and the face of a speaker, it gives that speaker's voice.",
        "",
        "```python",
        "from avsep.weights.pretrained import from_pretrained",
        "",
        f'model = from_pretrained("{repository}")',
        "```",
        "",
        "## Training data and its licences",
        "",
        *(f"- {corpus}: {licence or 'unknown'}" for corpus, licence in sorted(data.items())),
    ]
