"""`avsep cut`: long recordings become clips of one visible speaker each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import CheckError, ItemError, UsageError, printable
from avsep.terminal import echo

EXTENSIONS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg"})


def cut(
    sources: Annotated[list[Path], typer.Argument(help="Recordings, or folders of recordings.")],
    out: Annotated[Path, typer.Option(help="The folder to write the clips to.")],
    min_s: Annotated[float, typer.Option(help="The shortest clip, in seconds.")] = 2.0,
    max_s: Annotated[float, typer.Option(help="The longest clip, in seconds.")] = 20.0,
    min_score: Annotated[
        float, typer.Option(help="The least correlation of mouth and sound, -1 to 1.")
    ] = 0.15,
    min_face_px: Annotated[int, typer.Option(help="The smallest face, in pixels.")] = 60,
) -> None:
    """Cut interviews, talks and calls where exactly one visible face speaks, never across a cut.

    Writes a folder per recording, with the clips and cuts.json: source, times and score of each,
    and what was left out and why. speakers.csv is what `download.folder.csv` reads. The same
    command goes on where it was stopped, and one with other recordings adds to the folder.
    """
    from avsep.cutting.config import CuttingConfig
    from avsep.cutting.cut import cut_recording, cut_recordings, write_speakers
    from avsep.faces.backends import create
    from avsep.faces.config import FacesConfig
    from avsep.progress import duration, show_progress

    try:
        config = CuttingConfig(min_s=min_s, max_s=max_s, min_score=min_score)
        faces = FacesConfig(min_face_px=min_face_px, min_track_frames=10)
    except ValueError as error:
        raise UsageError(str(error)) from error
    paths = _recordings(sources, out)
    backend = create("mediapipe")
    failed = 0
    for path in paths:
        try:
            recording = cut_recording(path, out, config, faces, backend, show_progress)
        except ItemError as error:
            echo(printable(f"{path}: {error.message}"), err=True)
            failed += 1
            continue
        seconds: Counter[str] = Counter()
        for row in recording.spans:
            seconds[row["what"]] += row["end_s"] - row["start_s"]
        clips = sum(bool(row["file"]) for row in recording.spans)
        parts = [f"{what} {duration(length)}" for what, length in seconds.most_common()]
        echo(printable(f"{path.name}: {clips} clips; {', '.join(parts) or 'no speech'}"))
    every = cut_recordings(out)
    count = write_speakers(out / "speakers.csv", every)
    echo(f"{out}: {count} clips of {len(every)} recordings.")
    if failed:
        raise CheckError(f"{failed} of {len(paths)} recordings could not be cut.")


def _recordings(sources: list[Path], out: Path) -> list[Path]:
    """The videos that were named, and those in folders that were named, but not our own clips."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(p for p in source.rglob("*") if p.suffix.lower() in EXTENSIONS)
            own = out.resolve()
            found += [p for p in inside if not p.resolve().is_relative_to(own) and p.name[0] != "."]
        elif source.is_file():
            found.append(source)
        else:
            raise UsageError(f"{source} is neither a file nor a folder.")
    if not found:
        raise UsageError(f"{', '.join(map(str, sources))}: no videos were found there.")
    return list(dict.fromkeys(found))
