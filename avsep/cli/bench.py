"""`avsep bench`: measure the speed of this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.options import AsJson
from avsep.cli.project import BenchGroup
from avsep.errors import ItemError, UsageError, as_command_error
from avsep.terminal import echo
from avsep.workspace import find_project

bench_app = typer.Typer(
    cls=BenchGroup, help="Measure the speed of this machine.", no_args_is_help=True
)


@bench_app.command()
def extract(
    video: Annotated[
        Path | None, typer.Argument(help="A video; a rendered clip of the demo corpus if left out.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs; the fastest counts.")] = 3,
    engine: Annotated[
        str, typer.Option(help="What runs the landmark networks: litert, openvino, torch or auto.")
    ] = "litert",
    as_json: AsJson = False,
) -> None:
    """Measure the frames per second that one core extracts, and the share of each step.

    With the engine torch, the networks run in this process, on a GPU if there is one. In a project,
    `avsep plan` uses the figures.
    """
    from avsep.bench.extract import bench_extract, keep_figures
    from avsep.files import dump_json

    try:
        figures = bench_extract(video, repeats=repeats, engine=engine)
    except ItemError as error:
        raise as_command_error(video or Path("demo.mp4"), error) from error
    with suppress(UsageError):  # only a project has a plan
        keep_figures(find_project(), figures)
    if as_json:
        echo(dump_json(figures))
        return
    for key, value in figures.items():
        if key == "options":
            continue
        echo(f"{key:24} {value:.4g}" if isinstance(value, float) else f"{key:24} {value}")


@bench_app.command()
def models(
    model: Annotated[str, typer.Option(help="dolphin or vovit.")],
    seconds: Annotated[str, typer.Option(help="Dolphin: seconds of audio, e.g. 1,2,4,10.")] = "",
    long: Annotated[str, typer.Option(help="Dolphin: seconds to separate in windows.")] = "",
    train: Annotated[
        bool, typer.Option("--train", help="Dolphin: also time a training step.")
    ] = False,
    compile_too: Annotated[
        bool, typer.Option("--compile", help="Dolphin: also time torch.compile.")
    ] = False,
    dense_up_to: Annotated[
        float, typer.Option(help="Dolphin: longest audio to run densely, in seconds.")
    ] = 4.0,
    weights: Annotated[
        str, typer.Option(help="Dolphin: a model file instead of random weights.")
    ] = "",
    table: Annotated[
        bool, typer.Option("--table", help="VoViT: the published table's rows (the default).")
    ] = False,
    batch: Annotated[
        int, typer.Option(help="VoViT: chunks per batch; 0 for 100 on a GPU and 4 on a CPU.")
    ] = 0,
    backend: Annotated[str, typer.Option(help="VoViT: also measure this landmark backend.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    runs: Annotated[int, typer.Option(help="Timed runs; 0 for 5 (Dolphin) or 10 (VoViT).")] = 0,
    warm_ups: Annotated[
        int, typer.Option(help="Untimed runs before; -1 for 1 (Dolphin) or 2 (VoViT).")
    ] = -1,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch; 0 for its default.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not Markdown.")] = False,
) -> None:
    """Measure the full-size models: parameters, MACs, time, memory."""
    from avsep.bench.models.run import run

    options = {"long": long, "train": train, "compile": compile_too, "dense_up_to": dense_up_to}
    options |= {"weights": weights, "table": table, "batch": batch, "backend": backend}
    options |= {"device": device, "runs": runs, "warm_ups": warm_ups, "threads": threads}
    echo(run(model=model, seconds=seconds, json=as_json, **options))


@bench_app.command()
def loader(
    shards: Annotated[
        Path | None,
        typer.Argument(help="A set to take clips from; drawn clips if left out."),
    ] = None,
    clips: Annotated[int, typer.Option(min=2, help="Number of clips; one window of each.")] = 40,
    seconds: Annotated[float, typer.Option(help="Length of the clips.")] = 8.0,
    window: Annotated[float, typer.Option(help="Length of windows and items, in seconds.")] = 2.0,
    items: Annotated[int, typer.Option(min=1, help="Training items per run.")] = 96,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 5,
    workers: Annotated[str, typer.Option(help="Numbers of loading processes.")] = "0,1,2",
    as_json: AsJson = False,
) -> None:
    """Measure how fast items are loaded: by storage, augmentation and number of workers."""
    # As in a training, where one thread per process computes the short products of matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from avsep.bench.loader import as_text, bench_loader
    from avsep.files import dump_json

    counts = [part.strip() for part in workers.split(",")]
    if not all(count.isascii() and count.isdigit() for count in counts):
        raise UsageError(f"--workers is {workers!r}; give numbers of processes, e.g. 0,1,2.")
    try:
        tables = bench_loader(
            shards,
            clips=clips,
            seconds=seconds,
            window_s=window,
            items=items,
            runs=runs,
            workers=[int(count) for count in counts],
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    echo(dump_json(tables) if as_json else as_text(tables))


@bench_app.command()
def launches(
    model: Annotated[str, typer.Option(help="dolphin or vovit; both if left out.")] = "",
    seconds: Annotated[float, typer.Option(help="Dolphin: seconds of audio.")] = 2.0,
    batch: Annotated[int, typer.Option(help="Items of the training step.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Count kernel launches, bytes moved and host waits of the full-size models on a GPU.

    No GPU is needed: the models run on tensors without values.
    """
    from avsep.bench.models.launches import COLUMNS, MODELS, count_launches
    from avsep.bench.text import markdown
    from avsep.files import dump_json

    rows = []
    for name in [model] if model else MODELS:
        try:
            rows += count_launches(name, seconds=seconds, batch=batch)
        except ValueError as error:
            raise UsageError(str(error)) from error
    echo(dump_json(rows) if as_json else markdown(COLUMNS, rows))
