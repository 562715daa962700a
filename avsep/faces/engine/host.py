"""Starts one engine per device, starts it again when it dies, and ends it with this process."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from avsep.faces.engine.wire import FAILED
from avsep.files import dump_json
from avsep.processes import is_interrupted, short_temp_folder

log = logging.getLogger(__name__)

SOCKET = "engine"
MAX_FAILED_STARTS = 4  # one after the other

_hosts: dict[str, EngineHost] = {}
_lock = threading.Lock()


class EngineHost:
    """One engine on one device.

    Args:
        backend: name of the backend.
        options: its options, with the device of the engine.
    """

    def __init__(self, backend: str, options: Mapping[str, Any]) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(short_temp_folder())  # open to this user alone
        self._command = [
            sys.executable, "-m", "avsep.faces.engine.process",
            str(self.address), backend, dump_json(dict(options)), str(os.getpid()),
        ]  # fmt: skip
        self._closed = threading.Event()
        self.process = self._start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def address(self) -> Path:
        """Path of the engine's socket."""
        return self._folder / SOCKET

    def close(self) -> None:
        """End the engine."""
        self._closed.set()
        self.process.kill()
        self.process.wait()
        self._watcher.join(timeout=5)
        self._stack.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.address.unlink(missing_ok=True)
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def _watch(self) -> None:
        failed = 0
        while True:
            code = self.process.wait()
            if self._closed.is_set() or is_interrupted():
                return
            # Not by time: pictures that end an engine may come in quick succession.
            failed = 0 if self.address.exists() else failed + 1
            if failed >= MAX_FAILED_STARTS:
                text = f"the landmark engine ended {failed} times before it had started ({code})."
                (self._folder / FAILED).write_text(text, "utf-8")
                log.error(text)
                return
            log.warning("the landmark engine ended (%d); it is started again.", code)
            self.process = self._start()
            if self._closed.is_set():  # meanwhile, so that `close` may have ended only the old one
                self.process.kill()


def engine_addresses(backend: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The sockets of the engines of this process, one per device; started where they are not.

    Args:
        backend: name of the backend.
        options: its resolved options, see `backends.resolved_options`. The device `cuda` means
            every GPU that is visible.
    """
    devices = [str(options["device"])]
    if devices == ["cuda"]:
        import torch

        devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or devices
    with _lock:
        found = []
        for device in devices:
            here = dict(options) | {"device": device}
            key = dump_json([backend, here])
            if key not in _hosts:
                _hosts[key] = EngineHost(backend, here)
            found.append(str(_hosts[key].address))
    return tuple(found)


@atexit.register
def close_engines() -> None:
    """End all engines of this process."""
    with _lock:
        for host in _hosts.values():
            host.close()
        _hosts.clear()
