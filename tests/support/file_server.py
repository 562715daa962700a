"""A server on this machine for files by name."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class FileServer(HTTPServer):
    """Serves bytes by name.

    Attributes:
        files: content by name; other names are answered with 404.
        moved: address to redirect to, by name.
        headers: further headers of the answer, by name.
        extra: number added to the length that the server announces.
        ranges: whether parts of files are sent on request.
        conditions: whether `If-Range` is heeded.
        cuts: names of files whose next answer breaks off in the middle, once per entry.
        statuses: HTTP statuses to answer with first, by name; 0 for the file.
        asked: the names asked for, in order.
        ranges_asked: the `Range` of each request, in order; empty for none.
        conditions_asked: the `If-Range` of each request, in order; empty for none.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.extra = 0
        self.ranges = True
        self.conditions = True
        self.cuts: list[str] = []
        self.statuses: dict[str, list[int]] = {}
        self.asked: list[str] = []
        self.ranges_asked: list[str] = []
        self.conditions_asked: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    timeout = 30  # seconds that a client may be silent

    def do_GET(self) -> None:
        server = self.server
        name = self.path.lstrip("/").partition("?")[0]
        server.asked.append(name)
        server.ranges_asked.append(self.headers.get("Range", ""))
        server.conditions_asked.append(self.headers.get("If-Range", ""))
        if name in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[name])
            self._send_extra_headers(name)
            self.end_headers()
            return
        content = server.files.get(name)
        waiting = server.statuses.get(name)
        status = 404 if content is None else waiting.pop(0) if waiting else 0
        if status or content is None:
            self.send_response(status)
            self._send_extra_headers(name)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and server.ranges and self._is_same(name):
            first, total = int(found[1]), len(content)
            if first >= total:
                self.send_error(416)
                return
            content = content[first : int(found[2]) + 1 if found[2] else total]
            self.send_response(206)
            last = first + len(content) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) + server.extra))
        self._send_extra_headers(name)
        self.end_headers()
        if name in server.cuts:
            server.cuts.remove(name)
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def _is_same(self, name: str) -> bool:
        """Whether `If-Range` names the file as it is now."""
        condition = self.headers.get("If-Range", "")
        has = self.server.headers.get(name, {})
        known = (has.get("ETag"), has.get("Last-Modified"))
        return not (condition and self.server.conditions) or condition in known

    def _send_extra_headers(self, name: str) -> None:
        for key, value in self.server.headers.get(name, {}).items():
            self.send_header(key, value)

    def log_message(self, *_args) -> None:
        pass


@contextmanager
def serving_files() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
