"""`avsep web`: the local page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.separate import ModelName
from avsep.errors import CheckError, UsageError

HOST = "127.0.0.1"  # never another one: the page has no accounts


def web(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of this machine.")] = 7860,
    model: Annotated[ModelName | None, typer.Option(help="Which kind [dolphin].")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A model folder; the trained one if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<n>.")] = "auto",
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest video, in MB.")] = 1024,
    root: Annotated[Path, typer.Option("--root", help="The project folder.")] = Path(),
) -> None:
    """Serve a page for this machine: drop a video, hear each voice."""
    import socket

    from avsep.separation.resolve_model import resolve_device, resolve_model

    try:
        import uvicorn

        from avsep.web.app import create_app
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the page needs the package {error.name}: pip install 'avsep[web]'."
        ) from error
    choice = resolve_model(model.value if model else None, checkpoint, root.resolve())
    from avsep.separation import SeparateConfig, Separator

    separator = Separator.load(
        choice.path, resolve_device(device, None), SeparateConfig(residual=True)
    )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise CheckError(f"port {port} cannot be used: {error.strerror}.") from error
        app = create_app(separator, max_bytes=max_upload_mb << 20, note=choice.note)
        typer.echo(f"http://{HOST}:{port}  (Ctrl-C ends it and removes all files)")
        config = uvicorn.Config(app, log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])
