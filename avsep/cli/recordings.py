"""`avsep recordings`: test a model on mixtures that were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avsep.cli.options import Device, Model, Root, Weights, project_root
from avsep.errors import CheckError, ItemError, printable
from avsep.terminal import echo


def recordings(
    folder: Annotated[Path, typer.Argument(help="Folders with mix.wav, s1.mp4, s2.mp4, ...")],
    out: Annotated[Path, typer.Option(help="The folder to write scores to.")],
    model: Model = None,
    weights: Weights = None,
    quality: Annotated[
        str, typer.Option(help="Measures without a reference: dnsmos, nisqa, or both.")
    ] = "",
    device: Device = "auto",
    root: Root = None,
) -> None:
    """Ask for each face of recorded mixtures and score what the model gives.

    Writes scores.jsonl, one line per voice, metrics.json, and metrics_full.json with intervals,
    which `report.recordings` shows. SI-SNR, SDR, PESQ and STOI need a reference s1.wav beside
    s1.mp4.
    """
    from avsep.evaluation.quality import check_measures
    from avsep.evaluation.recordings import find_recordings, publish_recordings, score_recordings
    from avsep.models import checkpoint
    from avsep.models.registry import model_name
    from avsep.progress import show_progress
    from avsep.separation.resolve_model import resolve_device, resolve_model

    measures = [name.strip() for name in quality.split(",") if name.strip()]
    check_measures(measures)
    found = find_recordings(folder)
    chosen = resolve_model(model, weights, project_root(root))
    place = resolve_device(device, None)
    loaded: Any = checkpoint.load(chosen.path, place)
    rows: list[dict[str, Any]] = []
    failed = []
    with show_progress("recordings", len(found)) as advance:
        for recording, got in score_recordings(loaded, found, device=place, quality=measures):
            if isinstance(got, ItemError):
                failed.append({"recording": recording.name, "reason": str(got.reason)})
                echo(f"avsep: {printable(f'{recording.name}: {got.message}')}", err=True)
            else:
                rows += got
            advance(1)
    if not rows:
        raise CheckError("not one recording could be scored.")
    title = model_name(checkpoint.read_card(chosen.path))
    for name, value in publish_recordings(out, rows, model=title, failed=failed).items():
        if not isinstance(value, list):
            echo(f"{name:16} {value}")
    if failed:
        raise CheckError(f"{len(failed)} of {len(found)} recordings could not be scored.")
