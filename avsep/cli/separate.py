"""`avsep separate`: from a video to one clean voice per face."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.options import AsJson, Device, Model, Root, Weights, project_root
from avsep.errors import UsageError

if TYPE_CHECKING:
    from avsep.separation import Separator


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
    video: Annotated[str | None, typer.Argument(help="The video to separate.")] = None,
    source: Annotated[str | None, typer.Option("--input", "-i", help="The same as VIDEO.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to write; <video>_output if left out."),
    ] = None,
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
        max_faces=max_faces,
        min_face_px=min_face_px,
        keep_still=keep_still or None,
        audio_only=audio_only or None,
        video=video_mode.value if video_mode else None,
        residual=residual or None,
    )
    resolved = resolve_model(model, weights, project_root(root))
    for sentence in filter(None, (resolved.choice, resolved.note)):
        print(f"avsep: {sentence}", file=sys.stderr)
    from avsep.separation import Separator

    separator = Separator.load(resolved.path, resolve_device(device, cuda_device), settings)
    if stream:
        _stream(separator, path, output, as_json=as_json)
        return
    made = separator.separate(path, output, show_progress)
    for sentence in made.facts.get("notes", ()):
        print(f"avsep: {sentence}", file=sys.stderr)
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
    from avsep.separation.folder import default_output
    from avsep.separation.live_files import separate_live

    target = output or default_output(path)
    made = separate_live(separator, path, target, show_progress)
    for sentence in made.notes:
        print(f"avsep: {sentence}", file=sys.stderr)
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
        f" {made.real_time_factor:.2f} (work per second of recording; live needs less than 1)"
    )


def _one_input(video: str | None, source: str | None) -> str:
    if (video is None) == (source is None):
        raise UsageError("name exactly one video, as `avsep separate VIDEO` or with --input.")
    return video or source or ""
