"""`avsep separate`: any video in, one clean voice a face out."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsep.errors import UsageError

if TYPE_CHECKING:
    from avsep.separation import Separator


class ModelName(StrEnum):
    """The models that separate."""

    DOLPHIN = "dolphin"
    VOVIT = "vovit"
    VOVIT_S1 = "vovit-s1"


class Precision(StrEnum):
    """Number formats of a model."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def separate(
    video: Annotated[str | None, typer.Argument(help="The video; or --input.")] = None,
    source: Annotated[str | None, typer.Option("--input", "-i", help="The video.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder; <video>_output if left out.")
    ] = None,
    speakers: Annotated[
        int | None, typer.Option("--speakers", "-s", min=1, help="One a tracked face if left out.")
    ] = None,
    detect_every_n: Annotated[
        int | None, typer.Option(min=1, help="Frames between two runs of the face detector [8].")
    ] = None,
    face_scale: Annotated[
        float | None, typer.Option(help="Side of a face's square over its box [1.5].")
    ] = None,
    cuda_device: Annotated[
        int | None, typer.Option(min=-1, help="Number of a GPU; -1 for the CPU.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with these settings; options go before it.")
    ] = None,
    model: Annotated[ModelName | None, typer.Option(help="Which kind [dolphin].")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A model folder; the trained one if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<n>.")] = "auto",
    precision: Annotated[Precision | None, typer.Option(help="Number format [fp32].")] = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds that the model sees at a time [4].")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds that neighbouring windows share [0.48].")
    ] = None,
    only: Annotated[
        list[int] | None,
        typer.Option("--only", "--keep", min=1, help="Write this speaker alone; may be repeated."),
    ] = None,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="No video files.")] = False,
    residual: Annotated[
        bool, typer.Option("--residual", help="Write what is left of the mixture as well.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="As if it came in live: voices alone, with bounded delay."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
    root: Annotated[Path, typer.Option("--root", help="The project folder.")] = Path(),
) -> None:
    """Separate the voices of the faces in a video."""
    from avsep.files import dump_json
    from avsep.progress import show_progress
    from avsep.separation.recording import checked_path
    from avsep.separation.resolve_model import resolve_device, resolve_model, resolve_settings

    path = checked_path(_one_input(video, source))
    settings = resolve_settings(
        config,
        speakers=speakers,
        detect_every_n=detect_every_n,
        face_scale=face_scale,
        precision=precision.value if precision else None,
        window_s=window,
        overlap_s=overlap,
        only=tuple(only) if only else None,
        audio_only=audio_only or None,
        residual=residual or None,
    )
    choice = resolve_model(model.value if model else None, checkpoint, root.resolve())
    if choice.note:
        print(f"avsep: {choice.note}", file=sys.stderr)
    with _ended_cleanly():
        from avsep.separation import Separator

        separator = Separator.load(choice.path, resolve_device(device, cuda_device), settings)
        if stream:
            _stream(separator, path, output, as_json=as_json)
            return
        made = separator.separate(path, output, show_progress)
    if as_json:
        typer.echo(dump_json(made.summary()))
        return
    for speaker in made.speakers:
        seen = f"{speaker.facts['seen_share']:.0%}"
        typer.echo(f"speaker {speaker.number}\tseen {seen} of the time\t{speaker.voice}")
    if made.residual is not None:
        typer.echo(f"residual\t\t{made.residual}")
    typer.echo(f"{len(made.speakers)} speaker(s) in {made.folder}")


def _stream(separator: Separator, path: Path, output: Path | None, *, as_json: bool) -> None:
    from avsep.files import dump_json
    from avsep.progress import show_progress
    from avsep.separation.live_files import separate_live

    target = output or path.with_name(f"{path.stem}_output")
    made = separate_live(separator, path, target, show_progress)
    if as_json:
        facts = {
            "voices": [str(voice) for voice in made.voices],
            "latency_s": round(made.latency_s, 3),
            "real_time_factor": round(made.real_time_factor, 3),
        }
        typer.echo(dump_json(facts))
        return
    for number, voice in enumerate(made.voices, start=1):
        typer.echo(f"speaker {number}\t{voice}")
    typer.echo(
        f"algorithmic latency {made.latency_s:.2f} s; real-time factor"
        f" {made.real_time_factor:.2f} (work for each second of recording; live below 1)"
    )


def _one_input(video: str | None, source: str | None) -> str:
    if (video is None) == (source is None):
        raise UsageError("name one video, as `avsep separate VIDEO` or with --input.")
    return video or source or ""


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
