"""`avsep separate`: from a video to one clean voice per face."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.options import AsJson, Device, Model, Root, Weights, project_root
from avsep.errors import UsageError
from avsep.large_imports import large_imports
from avsep.terminal import cell, echo

if TYPE_CHECKING:
    from avsep.separation import Separator
    from avsep.separation.batch import BatchItem


class Precision(StrEnum):
    """Number formats of a model."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class VideoMode(StrEnum):
    """What the videos show."""

    DRAW = "draw"
    COPY = "copy"


def separate(
    videos: Annotated[
        list[str] | None,
        typer.Argument(metavar="VIDEO...", help="The video to separate; several, or a folder."),
    ] = None,
    source: Annotated[str | None, typer.Option("--input", "-i", help="The same as VIDEO.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to write; <video>_output if left out."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(min=1, max=64, help="Videos worked on at a time, where there are several."),
    ] = 1,
    speakers: Annotated[
        int | None,
        typer.Option("--speakers", "-s", min=1, help="How many; one per tracked face if left out."),
    ] = None,
    detect_every_n: Annotated[
        int | None, typer.Option(min=1, help="Frames between two runs of the face detector [8].")
    ] = None,
    face_scale: Annotated[
        float | None, typer.Option(help="Side of the square drawn, in face boxes [1.5].")
    ] = None,
    cuda_device: Annotated[
        int | None, typer.Option(min=-1, help="Number of a GPU; -1 for the CPU.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file with these settings; options override it.")
    ] = None,
    model: Model = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Annotated[
        Precision | None, typer.Option(help="Number format of the model [fp32].")
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds that the model sees at a time [4].")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds that neighbouring windows share [0.48].")
    ] = None,
    only: Annotated[
        list[int] | None,
        typer.Option("--only", "--keep", min=1, help="Write only this speaker; may be repeated."),
    ] = None,
    max_faces: Annotated[
        int | None, typer.Option(min=1, help="Most faces tracked at a time; all if left out.")
    ] = None,
    min_face_px: Annotated[
        int | None, typer.Option(min=16, help="Side of the smallest face, in pixels [32].")
    ] = None,
    keep_still: Annotated[
        bool,
        typer.Option("--keep-still", help="A face that never moves (a photograph) is a speaker."),
    ] = False,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="Write no video files.")] = False,
    video_mode: Annotated[
        VideoMode | None,
        typer.Option("--video", help="Frames about the faces, or the pictures untouched [draw]."),
    ] = None,
    residual: Annotated[
        bool, typer.Option("--residual", help="Also write the mixture minus the voices.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Process as a live stream: only voices, bounded delay."),
    ] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Separate the voices of the faces in a video, or in each of several."""
    from avsep.files import dump_json
    from avsep.progress import show_progress
    from avsep.separation.batch import find_items
    from avsep.separation.recording import checked_path
    from avsep.separation.resolve_model import resolve_device, resolve_model, resolve_settings

    sources = [*(videos or []), *([source] if source else [])]
    if not sources:
        raise UsageError("name a video, as `avsep separate VIDEO` or with --input.")
    many = len(sources) > 1 or Path(sources[0]).is_dir()
    if many and stream:
        raise UsageError("--stream takes one video.")
    items = find_items(sources, output) if many else []
    path = checked_path(sources[0]) if not many else Path()
    settings = resolve_settings(
        config,
        speakers=speakers,
        detect_every_n=detect_every_n,
        face_scale=face_scale,
        precision=precision.value if precision else None,
        window_s=window,
        overlap_s=overlap,
        only=tuple(only) if only else None,
        max_faces=max_faces,
        min_face_px=min_face_px,
        keep_still=keep_still or None,
        audio_only=audio_only or None,
        video=video_mode.value if video_mode else None,
        residual=residual or None,
    )
    with large_imports():
        from avsep.separation import Separator
    resolved = resolve_model(model, weights, project_root(root))
    for sentence in filter(None, (resolved.choice, resolved.note)):
        echo(f"avsep: {sentence}", err=True)

    separator = Separator.load(resolved.path, resolve_device(device, cuda_device), settings)
    if many:
        _many(separator, items, jobs, as_json=as_json)
        return
    if stream:
        _stream(separator, path, output, as_json=as_json)
        return
    made = separator.separate(path, output, show_progress)
    for sentence in made.facts.get("notes", ()):
        echo(f"avsep: {sentence}", err=True)
    if as_json:
        echo(dump_json(made.summary()))
        return
    for speaker in made.speakers:
        seen = f"{speaker.facts['seen_share']:.0%}"
        echo(f"speaker {speaker.number}\tseen {seen} of the time\t{speaker.voice}")
    if made.residual is not None:
        echo(f"residual\t\t{made.residual}")
    echo(f"{len(made.speakers)} speaker(s) in {made.folder}")


def _stream(separator: Separator, path: Path, output: Path | None, *, as_json: bool) -> None:
    from avsep.files import dump_json
    from avsep.progress import show_progress
    from avsep.separation.folder import default_output
    from avsep.separation.live_files import separate_live

    target = output or default_output(path)
    made = separate_live(separator, path, target, show_progress)
    for sentence in made.notes:
        echo(f"avsep: {sentence}", err=True)
    if as_json:
        facts = {
            "voices": [str(voice) for voice in made.voices],
            "latency_s": round(made.latency_s, 3),
            "real_time_factor": round(made.real_time_factor, 3),
        }
        echo(dump_json(facts))
        return
    for number, voice in enumerate(made.voices, start=1):
        echo(f"speaker {number}\t{voice}")
    echo(
        f"algorithmic latency {made.latency_s:.2f} s; real-time factor"
        f" {made.real_time_factor:.2f} (work per second of recording; live needs less than 1)"
    )


def _many(separator: Separator, items: list[BatchItem], jobs: int, *, as_json: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from avsep.files import dump_json
    from avsep.progress import show_progress
    from avsep.separation.batch import check_all, separate_batch

    results = sorted(
        separate_batch(separator, items, show_progress, jobs=jobs), key=lambda result: result.video
    )
    if as_json:
        echo(dump_json([{k: _plain(v) for k, v in vars(one).items()} for one in results]))
    else:
        table = Table(box=SIMPLE_HEAD)
        for heading in ("video", "result", "speakers", "seconds", "folder or reason"):
            right = heading in ("speakers", "seconds")
            table.add_column(heading, justify="right" if right else "left", overflow="fold")
        for one in results:
            last = (
                one.message if one.state == "failed" else " ".join([str(one.output), one.message])
            )
            cells = (one.video, one.state, one.speakers, f"{one.seconds:.1f}", last)
            table.add_row(*map(cell, cells))
        Console().print(table)
    check_all(results)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
