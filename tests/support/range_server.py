"""A web server on this machine for a folder, with byte ranges and with failures on request."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder.

    Attributes:
        asked: number of requests, by name.
        sent: number of bytes sent, by name.
        cut_after: bytes after which an answer breaks off; 0 for never.
        statuses: answers to the next requests for a name, e.g. 503; then the file.
        knows_ranges: whether ranges are served.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.cut_after = 0
        self.statuses: dict[str, list[int]] = {}
        self.knows_ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a client may be silent
    server: RangeServer

    def do_GET(self) -> None:
        server, name = self.server, self.path.lstrip("/")
        server.asked[name] += 1
        if waiting := server.statuses.get(name):
            self.send_error(waiting.pop(0))
            return
        path = server.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and server.knows_ranges:
            first = int(wanted[1])
            last = min(int(wanted[2] or len(content)), len(content) - 1)
            if first > last:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if server.cut_after and len(content) > server.cut_after:
            content = content[: server.cut_after]
            self.close_connection = True
        server.sent[name] += len(content)
        self.wfile.write(content)

    def log_message(self, *_args) -> None:
        pass


@contextmanager
def serving_folder(folder: Path) -> Iterator[RangeServer]:
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
