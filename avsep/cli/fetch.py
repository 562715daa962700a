"""`avsep fetch`: archives of VoxCeleb2 with the user's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    server: Annotated[
        str, typer.Option(help="The address in the publishers' e-mail, without key and file.")
    ],
    into: Annotated[Path, typer.Option(help="The folder of the archives.")],
    names: Annotated[
        list[str] | None, typer.Argument(help="Archives or parts; all of the release if left out.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="An intermediate certificate that the server forgets.")
    ] = None,
) -> None:
    """Fetch archives of VoxCeleb2 with your own key, or what is left of them.

    The key is read from the environment variable AVSEP_VOXCELEB_KEY. `download` compares the
    checksums before it reads the archives.
    """
    from avsep.corpora.keyed_download import VOXCELEB2_FILES, KeyedServer
    from avsep.progress import stage_progress

    keyed = KeyedServer(server, ca_file=ca_file)
    for name in names or VOXCELEB2_FILES:
        shown = 0
        with stage_progress(f"{name} (MB)", 0) as advance:

            def report(have: int, _total: int) -> None:
                nonlocal shown
                advance(have // 1_000_000 - shown)  # noqa: B023: called in this round alone
                shown = have // 1_000_000

            typer.echo(keyed.fetch(name, into, report))
