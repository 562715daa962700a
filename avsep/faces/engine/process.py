"""The process of an engine, started as `python -m avsep.faces.engine.process` by `host`."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path


def main(socket: str, backend: str, options: str, parent: str) -> None:
    """Serve until the parent has gone.

    Args:
        socket: path of the socket.
        backend: name of the backend.
        options: its options, as JSON.
        parent: id of the process that started this one.
    """
    from avsep.processes import follow_parent

    follow_parent(int(parent), Path(socket).parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    logging.basicConfig(format="%(message)s")

    from avsep.faces.backends import load_networks
    from avsep.faces.engine.server import EngineServer

    chosen = json.loads(options)
    networks = load_networks(backend, chosen)
    # Bound under another name first: who finds the socket finds somebody who listens.
    starting = Path(f"{socket}.new")
    starting.unlink(missing_ok=True)
    server = EngineServer(networks, starting, int(chosen["batch"]))
    starting.replace(socket)
    server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
