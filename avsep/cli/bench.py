"""`avsep bench`: measure speed on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@bench_app.command()
def extract(
    video: Annotated[
        Path | None, typer.Argument(help="A video; a demo clip is rendered if left out.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the fastest counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure frames a second of one core, with the share of each step."""
    from avsep.bench.extract import bench_extract
    from avsep.files import dump_json

    figures = bench_extract(video, repeats=repeats)
    if as_json:
        typer.echo(dump_json(figures))
        return
    for key, value in figures.items():
        typer.echo(f"{key:24} {value:.4g}" if isinstance(value, float) else f"{key:24} {value}")


@bench_app.command()
def models(
    model: Annotated[str, typer.Option(help="dolphin or vovit.")],
    seconds: Annotated[str, typer.Option(help="Dolphin: lengths of audio, e.g. 1,2,4,10.")] = "",
    long: Annotated[str, typer.Option(help="Dolphin: lengths to separate in windows.")] = "",
    train: Annotated[bool, typer.Option("--train", help="Dolphin: a training step too.")] = False,
    compile_too: Annotated[
        bool, typer.Option("--compile", help="Dolphin: torch.compile too.")
    ] = False,
    dense_up_to: Annotated[float, typer.Option(help="Dolphin: no longer audio densely, s.")] = 4.0,
    weights: Annotated[str, typer.Option(help="Dolphin: a model file instead of random.")] = "",
    table: Annotated[
        bool, typer.Option("--table", help="VoViT: the published table's rows (the default).")
    ] = False,
    batch: Annotated[int, typer.Option(help="VoViT: chunks at once; 0: GPU 100, CPU 4.")] = 0,
    backend: Annotated[str, typer.Option(help="VoViT: measure this landmark backend too.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    runs: Annotated[int, typer.Option(help="Warm runs; 0: Dolphin 5, VoViT 10.")] = 0,
    warm_ups: Annotated[int, typer.Option(help="Runs before; -1: Dolphin 1, VoViT 2.")] = -1,
    threads: Annotated[int, typer.Option(help="Of PyTorch; 0: its default.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not Markdown.")] = False,
) -> None:
    """Measure the full-size models: parameters, MACs, time, memory."""
    from avsep.bench.models.run import run

    options = {"long": long, "train": train, "compile": compile_too, "dense_up_to": dense_up_to}
    options |= {"weights": weights, "table": table, "batch": batch, "backend": backend}
    options |= {"device": device, "runs": runs, "warm_ups": warm_ups, "threads": threads}
    typer.echo(run(model=model, seconds=seconds, json=as_json, **options))
