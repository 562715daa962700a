"""A server on this machine with failures on request; the generic extractor of yt-dlp reads it."""

import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from avsep.corpora.youtube.ytdlp import Site


class VideoServer:
    """Serves `/watch/<id>.mp4`.

    Attributes:
        videos: content by id.
        answers: by id, the answers to the next requests: a status, or "cut" for half of the video;
            afterwards the video.
        asked: number of requests per id.
        hang: id of a video whose answer waits until `release` is set; `hanging` is set when it
            is asked for.
        busy_after: number of requests after which the next `busy_for` are answered with 429.
        times: per request, its time in monotonic seconds and whether the answer was 429.
    """

    def __init__(self) -> None:
        self.videos: dict[str, bytes] = {}
        self.answers: dict[str, list] = {}
        self.asked: Counter[str] = Counter()
        self.headers: list[str] = []
        self.busy_after, self.busy_for = 10**9, 0
        self.total = 0
        self.times: list[tuple[float, bool]] = []
        self.hang, self.hanging, self.release = "", threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.address = ""

    @property
    def site(self) -> Site:
        return Site(address=partial(_address, self.address), extractors=("generic",))


def _address(server: str, video: str) -> str:
    return f"{server}/watch/{video}.mp4"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a client may be silent
    server: "_Http"

    def log_message(self, *_args) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server.state
        video = re.fullmatch(r"/watch/(.+)\.mp4", self.path)[1]
        with state.lock:
            state.total += 1
            state.asked[video] += 1
            state.headers.append(str(self.headers))
            busy = state.busy_after < state.total <= state.busy_after + state.busy_for
            answer = 429 if busy else (state.answers.get(video) or [200]).pop(0)
            if not busy and video not in state.videos:
                answer = 404
            state.times.append((time.monotonic(), answer == 429))
        if video == state.hang:
            state.hanging.set()
            state.release.wait(600)
            self.close_connection = True
            return
        if isinstance(answer, int) and answer != 200:
            self.send_error(answer)
            return
        content, first = state.videos[video], 0
        if wanted := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first = int(wanted[1])
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        body = content[first:]
        if answer == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    state: VideoServer

    def handle_error(self, *_args) -> None:
        pass


@contextmanager
def serving(state: VideoServer | None = None):
    state = state or VideoServer()
    server = _Http(("127.0.0.1", 0), _Handler)
    server.state = state
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
