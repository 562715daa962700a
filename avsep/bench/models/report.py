"""The result of a model bench as Markdown: tables, with what was measured and where."""

from __future__ import annotations

from typing import Any

from avsep.bench.models import dolphin, dolphin_windows, vovit
from avsep.bench.models import dolphin_training as training
from avsep.bench.text import markdown


def report(result: dict[str, Any]) -> str:
    """The result of `bench_dolphin` or `bench_vovit` as Markdown."""
    body = _dolphin(result) if result["model"] == "dolphin" else _vovit(result)
    where = f"{result['machine']}, {result['versions']}"
    if result["device"] != "cpu":
        where = f"{result['device']} in {where}"
    return "\n\n".join([f"{where}.", *body])


def _dolphin(result: dict[str, Any]) -> list[str]:
    settings = result["settings"]
    parts = [
        f"Dolphin, full size: {result['parameters']:,} parameters"
        f" ({result['parameters_without_lip_encoder']:,} without the lip encoder), weights:"
        f" {result['weights']}. One mixture at a time, {result['threads']} threads,"
        f" {settings['runs']} warm runs, the variants of one length in turns; memory and the cold"
        " run in a fresh process each. MACs: convolutions, matrix products and attention, without"
        " FFTs, norms and activations. Differences are from the first variant of that length.",
        markdown(dolphin.COLUMNS, result["forward"]),
    ]
    if "train_step" in result:
        parts += [
            f"A training step ({training.BATCH} x {training.LENGTH_S:g} s, lip encoder frozen):",
            markdown(training.STEP_COLUMNS, result["train_step"]),
            f"Heat on {' x '.join(map(str, training.HEAT_SHAPE))} values:",
            markdown(training.HEAT_COLUMNS, result["heat"]),
        ]
    if "windowed" in result:
        parts += [
            "Separation in windows, as `avsep separate` does it:",
            markdown(dolphin_windows.COLUMNS, result["windowed"]),
        ]
    return parts


def _vovit(result: dict[str, Any]) -> list[str]:
    settings = result["settings"]
    sizes = "; ".join(
        f"{variant} {size['parameters']:,} parameters, {size['macs_g']:.1f} GMACs for 2 s"
        for variant, size in result["sizes"].items()
    )
    parts = [
        f"VoViT, full size, random weights: {sizes} (convolutions, matrix products, attention)."
        f" Milliseconds per {vovit.TABLE_S:g} s of audio, batches of {result['chunks']} chunks of"
        f" 2 s, median of {settings['runs']} runs after {settings['warm_ups']} warm-ups,"
        " synchronised, all rows in turns. Spectra and registration are always in float32. TF32 is"
        " off unless a row says otherwise. bf16 convs: only the audio encoder's convolutions.",
        markdown(vovit.COLUMNS, result["rows"]),
    ]
    if "extraction_ms" in result:
        parts.append(
            f"Landmark extraction by {settings['backend']} on one core, without decoding:"
            f" {result['extraction_ms']:.0f} ms."
        )
    columns = {
        "variant": "model",
        "precision": "precision",
        "0": "preprocessing",
        "1": "graph network",
        "2": "whole model",
        "3": "preprocessing and inference",
    }
    rows = [
        {**row, **{str(i): f"{figure:g}" for i, figure in enumerate(row["figures"])}}
        for row in result["published"]
    ]
    return [*parts, "Published (RTX 3090, batch 100):", markdown(columns, rows)]
