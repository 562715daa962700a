"""`python -m flows.serve DESCRIPTOR`: Prefect's server on a socket of `flows.loopback.listen`.

`prefect server start` answers whatever name it is called by, so a web page whose name is made to
point to this machine (DNS rebinding) counts as the server's own page. Here the Host header is
checked first. The password and the allowed origins are in the environment: `flows.access`.
"""

from __future__ import annotations

import argparse
import socket
import sys

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from avsep.large_imports import large_imports
from flows.access import HOSTS
from flows.loopback import HOST, port_of


def guarded(app: ASGIApp) -> ASGIApp:
    """An app that refuses requests by any other name than those of this machine."""
    return TrustedHostMiddleware(app, allowed_hosts=list(HOSTS), www_redirect=False)


def main() -> None:
    """Serve until asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=main.__doc__)
    parser.add_argument("descriptor", type=int, help="of a socket that listens")
    parser.add_argument("--no-page", action="store_true", help="the API alone")
    given = parser.parse_args()

    with large_imports():
        from prefect.server.api.server import create_app
        from prefect.settings import PREFECT_UI_ENABLED, get_current_settings, temporary_settings

    server = get_current_settings().server
    if not server.api.auth_string:
        parser.error("PREFECT_SERVER_API_AUTH_STRING is not set; `avsep up` starts this program.")
    listening = socket.socket(fileno=given.descriptor)
    print(f"Prefect's server at http://{HOST}:{port_of(listening)}", flush=True)
    with temporary_settings({PREFECT_UI_ENABLED: server.ui.enabled and not given.no_page}):
        config = uvicorn.Config(
            guarded(create_app(final=True)),
            timeout_keep_alive=server.api.keepalive_timeout,
            ws_ping_interval=server.api.websocket_ping_interval,
            ws_ping_timeout=server.api.websocket_ping_timeout,
            log_level=server.logging_level.lower(),
        )
        serving = uvicorn.Server(config)
        serving.run(sockets=[listening])
    sys.exit(not serving.started)


if __name__ == "__main__":
    main()
