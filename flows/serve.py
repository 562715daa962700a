"""`python -m flows.serve PORT`: Prefect's server on the loopback address, for its own names only.

`prefect server start` answers whatever name it is called by, so a web page whose name is made to
point to this machine (DNS rebinding) counts as the server's own page. Here the Host header is
checked first. The password and the allowed origins are in the environment: `flows.access`.
"""

from __future__ import annotations

import argparse

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from avsep.large_imports import large_imports
from flows.access import HOSTS
from flows.loopback import HOST


def guarded(app: ASGIApp) -> ASGIApp:
    """An app that refuses requests by any other name than those of this machine."""
    return TrustedHostMiddleware(app, allowed_hosts=list(HOSTS), www_redirect=False)


def main() -> None:
    """Serve until asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=main.__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--no-page", action="store_true", help="the API alone")
    given = parser.parse_args()

    with large_imports():
        from prefect.server.api.server import create_app
        from prefect.settings import PREFECT_UI_ENABLED, get_current_settings, temporary_settings

    server = get_current_settings().server
    if not server.api.auth_string:
        parser.error("PREFECT_SERVER_API_AUTH_STRING is not set; `avsep up` starts this program.")
    print(f"Prefect's server at http://{HOST}:{given.port}", flush=True)
    with temporary_settings({PREFECT_UI_ENABLED: server.ui.enabled and not given.no_page}):
        uvicorn.run(
            guarded(create_app(final=True)),
            host=HOST,
            port=given.port,
            timeout_keep_alive=server.api.keepalive_timeout,
            ws_ping_interval=server.api.websocket_ping_interval,
            ws_ping_timeout=server.api.websocket_ping_timeout,
            log_level=server.logging_level.lower(),
        )


if __name__ == "__main__":
    main()
