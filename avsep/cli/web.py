"""`avsep web`: the local web page; `avsep serve`: the same for programs."""

from __future__ import annotations

from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from avsep.cli.options import Device, Model, Root, Weights, project_root
from avsep.errors import CheckError, UsageError
from avsep.large_imports import large_imports
from avsep.terminal import echo

HOST = "127.0.0.1"  # only this machine: the page has no accounts
MIN_TOKEN = 16  # characters

Port = Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")]
MaxUpload = Annotated[int, typer.Option(min=1, help="Size of the largest video, in MB.")]


def web(
    port: Port = 7860,
    model: Model = None,
    weights: Weights = None,
    device: Device = "auto",
    max_upload_mb: MaxUpload = 1024,
    root: Root = None,
) -> None:
    """Serve a web page on this machine: drop a video, hear each voice."""
    _serve(port, model, weights, device, max_upload_mb, root, token="")


def serve(
    token_file: Annotated[
        Path,
        typer.Option(
            "--token-file",
            help="File with the token that requests must bring; made, for you alone, if missing.",
        ),
    ],
    port: Port = 7861,
    model: Model = None,
    weights: Weights = None,
    device: Device = "auto",
    max_upload_mb: MaxUpload = 1024,
    root: Root = None,
) -> None:
    """Serve separation to programs on this machine: a small HTTP API (/openapi.json)."""
    _serve(port, model, weights, device, max_upload_mb, root, token=_token(token_file))


def _token(path: Path) -> str:
    """The token in a file that only its owner can read; a new one if the file is missing."""
    import os
    import secrets

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        open_to_others = path.stat().st_mode & 0o077
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a token: {error}.") from error
    if open_to_others:
        raise UsageError(f"{path} can be read by others; `chmod 600 {path}` first.")
    if len(token) < MIN_TOKEN:
        raise UsageError(
            f"the token in {path} has {len(token)} characters; at least {MIN_TOKEN} are needed."
            " Remove the file to get a new one."
        )
    return token


def _serve(
    port: int,
    model: str | None,
    weights: str | None,
    device: str,
    max_upload_mb: int,
    root: Path | None,
    *,
    token: str,
) -> None:
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
    with large_imports():
        from avsep.separation import SeparateConfig, Separator
    resolved = resolve_model(model, weights, project_root(root))
    if resolved.choice:
        echo(f"avsep: {resolved.choice}", err=True)
    separator = Separator.load(
        resolved.path, resolve_device(device, None), SeparateConfig(residual=True)
    )
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise CheckError(f"port {port} cannot be used: {error.strerror}.") from error
        app = create_app(separator, max_bytes=max_upload_mb << 20, note=resolved.note, token=token)
        echo(f"http://{HOST}:{port}  (Ctrl-C ends it and removes all files)")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        # uvicorn ends in order on SIGTERM and Ctrl-C, and does not know SIGHUP.
        usual, received = signal.getsignal(signal.SIGHUP), []

        def hang_up(number: int, frame: FrameType | None) -> None:
            received.append(number)
            server.handle_exit(number, frame)

        if usual != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, hang_up)
        server.run(sockets=[listener])
        signal.signal(signal.SIGHUP, usual)
        if received:
            signal.raise_signal(signal.SIGHUP)
