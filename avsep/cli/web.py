"""`avsep web`: the local web page."""

from __future__ import annotations

from typing import Annotated

import typer

from avsep.cli.options import Device, Model, Root, Weights, project_root
from avsep.errors import CheckError, UsageError

HOST = "127.0.0.1"  # only this machine: the page has no accounts


def web(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 7860,
    model: Model = None,
    weights: Weights = None,
    device: Device = "auto",
    max_upload_mb: Annotated[
        int, typer.Option(min=1, help="Size of the largest video, in MB.")
    ] = 1024,
    root: Root = None,
) -> None:
    """Serve a web page on this machine: drop a video, hear each voice."""
    import signal
    import socket

    from avsep.separation.resolve_model import resolve_device, resolve_model

    try:
        import uvicorn

        from avsep.web.app import create_app
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the page needs the package {error.name}: pip install 'avsep[web]'."
        ) from error
    resolved = resolve_model(model, weights, project_root(root))
    if resolved.choice:
        typer.echo(f"avsep: {resolved.choice}", err=True)
    from avsep.separation import SeparateConfig, Separator

    separator = Separator.load(
        resolved.path, resolve_device(device, None), SeparateConfig(residual=True)
    )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise CheckError(f"port {port} cannot be used: {error.strerror}.") from error
        app = create_app(separator, max_bytes=max_upload_mb << 20, note=resolved.note)
        typer.echo(f"http://{HOST}:{port}  (Ctrl-C ends it and removes all files)")
        # uvicorn ends in order on SIGTERM, and does not know SIGHUP.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        config = uvicorn.Config(app, log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])
