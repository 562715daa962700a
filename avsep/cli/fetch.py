"""`avsep fetch`: download a corpus that anyone may have, or VoxCeleb2 with the user's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import UsageError
from avsep.terminal import echo


def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="grid, lombard-grid or crema-d; or archives of VoxCeleb2, the whole release if"
            " left out."
        ),
    ] = None,
    server: Annotated[
        list[str] | None,
        typer.Option(
            help="VoxCeleb2: the address in the publishers' e-mail, without key and file name. Open"
            " corpora: another server with the same paths; several are asked in turn."
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write to; for open corpora the name of the corpus if left out."
        ),
    ] = None,
    speakers: Annotated[
        str, typer.Option(help="Open corpora: a number, or names as s1,s4; all if left out.")
    ] = "",
    clips: Annotated[
        int | None,
        typer.Option(help="Open corpora: so many clips per speaker, without whole archives."),
    ] = None,
    view: Annotated[str, typer.Option(help="Lombard GRID: front or side.")] = "front",
    ca_file: Annotated[
        Path | None,
        typer.Option(
            help="VoxCeleb2: an intermediate certificate that the server should send and does not."
        ),
    ] = None,
) -> None:
    """Download an open corpus, or archives of VoxCeleb2; the same command goes on where it stopped.

    The key of VoxCeleb2 is read from the environment variable AVSEP_VOXCELEB_KEY. The stage
    `download` checks the checksums before it reads the archives.
    """
    from avsep.corpora.fetching.catalogue import LICENCES

    if any(name in LICENCES for name in names or ()):
        _fetch_open(names or [], server or [], into, speakers, clips, view)
    elif speakers or clips is not None:
        raise UsageError(f"--speakers and --clips need one of {', '.join(LICENCES)}.")
    else:
        _fetch_voxceleb2(names, server or [], into, ca_file)


def _fetch_open(
    names: list[str],
    servers: list[str],
    into: Path | None,
    speakers: str,
    clips: int | None,
    view: str,
) -> None:
    from avsep.corpora.fetching.catalogue import LICENCES
    from avsep.corpora.fetching.catalogue import fetch as fetch_corpus
    from avsep.corpora.fetching.site import Site
    from avsep.progress import show_progress

    if len(names) > 1:
        raise UsageError("download one open corpus at a time.")
    [name] = names
    folder = into or Path(name)
    site = Site(folder, steps=show_progress, say=lambda line: echo(f"avsep: {line}", err=True))
    count = fetch_corpus(name, site, servers=servers, speakers=speakers, clips=clips, view=view)
    echo(f"{folder}: {count} file(s) of {name}. Licence: {LICENCES[name]}.")
    echo(f"`avsep profile use {name}` sets a project up for it.")


def _fetch_voxceleb2(
    names: list[str] | None, servers: list[str], into: Path | None, ca_file: Path | None
) -> None:
    from avsep.corpora.keyed_download import VOXCELEB2_FILES, KeyedServer
    from avsep.progress import show_progress

    if len(servers) != 1 or into is None:
        raise UsageError(
            "VoxCeleb2 needs one --server and --into; an open corpus needs its name: grid,"
            " lombard-grid or crema-d."
        )
    keyed = KeyedServer(servers[0], ca_file=ca_file)
    for name in names or VOXCELEB2_FILES:
        with show_progress(f"bytes of {name}", 0) as advance:
            echo(keyed.download(name, into, advance))
