"""`avsep fetch`: download archives of VoxCeleb2 with the user's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    server: Annotated[
        str, typer.Option(help="The address in the publishers' e-mail, without key and file name.")
    ],
    into: Annotated[Path, typer.Option(help="The folder to write the archives to.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Archives or parts; the whole release if left out.")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="An intermediate certificate that the server should send and does not."),
    ] = None,
) -> None:
    """Download archives of VoxCeleb2 with your own key, or continue a download.

    The key is read from the environment variable AVSEP_VOXCELEB_KEY. The stage `download` checks
    the checksums before it reads the archives.
    """
    from avsep.corpora.keyed_download import VOXCELEB2_FILES, KeyedServer
    from avsep.progress import show_progress

    keyed = KeyedServer(server, ca_file=ca_file)
    for name in names or VOXCELEB2_FILES:
        with show_progress(f"bytes of {name}", 0) as advance:
            typer.echo(keyed.download(name, into, advance))
