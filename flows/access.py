"""Who may use a Prefect server that avsep started: whoever can read its password file.

Each server has a password of its own, in a file that only its user can read. Without it the API
answers nothing but whether it is alive, so neither a web page in a browser of this machine nor
another user of it can start a run.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from avsep.errors import CheckError
from flows.loopback import HOST, answers, port_of

PASSWORD_FILE = "password"  # noqa: S105 the name of the file
HOSTS = (HOST, "localhost")
ANSWER_TIMEOUT_S, POLL_S = 120.0, 0.5


def password(state_dir: Path) -> str:
    """The `user:password` of the server whose state is in a folder; made at the first call.

    A file that others can read, or that is not a regular file of this user, is replaced: what it
    held is known to others.

    Raises:
        CheckError: the folder is on a disk that does not support file permissions.
    """
    path = state_dir / PASSWORD_FILE
    state_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, ValueError):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(path, flags), encoding="ascii") as file:
            known = file.read(200).strip()
            if _is_private(file.fileno()) and known.startswith("avsep:"):
                return known
    made = f"avsep:{secrets.token_urlsafe(32)}"
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        if not _is_private(file.fileno()):
            raise CheckError(
                f"{path} can be read by other users, whatever its mode: its disk does not"
                " support file permissions; put the project on one that does, or set"
                " PREFECT_API_URL to a server of your own."
            )
        file.write(made + "\n")
    return made


def _is_private(file: int) -> bool:
    facts = os.fstat(file)
    is_ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.getuid()
    return is_ours and not facts.st_mode & 0o077


def basic(auth: str) -> dict[str, str]:
    """The header of a request that gives a password."""
    return {"authorization": "Basic " + base64.b64encode(auth.encode("ascii")).decode("ascii")}


def is_guarded(url: str, auth: str, runs: Callable[[], bool]) -> bool | None:
    """Whether the API at a URL asks for a password and takes ours; older versions asked for none.

    It is told our password: the caller knows that the process behind the URL is ours. A machine
    that is busy with trainings may let it wait for its answer.

    Args:
        url: of the API.
        auth: the password.
        runs: whether the process behind the URL still runs.

    Returns:
        None where it runs and does not answer within two minutes.
    """
    limit = time.monotonic() + ANSWER_TIMEOUT_S
    while runs():
        open_to_all = answers(f"{url}/version")
        takes_ours = None if open_to_all else answers(f"{url}/version", basic(auth))
        if open_to_all or None not in (open_to_all, takes_ours):
            return not open_to_all and takes_ours is True
        if time.monotonic() > limit:
            return None
        time.sleep(POLL_S)
    return False


def server_command(listening: socket.socket, *, page: bool) -> list[str]:
    """The words that start a Prefect server with these checks; it must be given the descriptor."""
    descriptor = str(listening.fileno())
    return [sys.executable, "-m", "flows.serve", descriptor, *([] if page else ["--no-page"])]


def server_environment(listening: socket.socket, auth: str) -> dict[str, str]:
    """What the server is told: its password, and that only its own page may ask from a browser."""
    port = port_of(listening)
    return {
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}:{port}" for host in HOSTS),
        "PREFECT_UI_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_API_AUTH_STRING": "",
        # The server must not take itself for a client of its own API.
        "PREFECT_API_URL": "",
    }
