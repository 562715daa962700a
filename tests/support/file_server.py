"""A server on this machine for files by name."""

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
        asked: the names asked for, in order.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.extra = 0
        self.asked: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        name = self.path.lstrip("/").partition("?")[0]
        server.asked.append(name)
        if name in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[name])
            self._send_extra_headers(name)
            self.end_headers()
            return
        content = server.files.get(name)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"") + server.extra))
        self._send_extra_headers(name)
        self.end_headers()
        self.wfile.write(content or b"")

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
