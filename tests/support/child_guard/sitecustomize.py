"""What Python imports when a child of a guarded test starts: it gets the guards of the test.

`AVSEP_TEST_PLACES` names the folders that it may write in, if not in all. What it must not do
raises an error in the child, and is noted in the file `AVSEP_TEST_NOTES`, should the child hide it.
"""

import ipaddress
import os
import socket
import sys

_NOTES = os.environ.get("AVSEP_TEST_NOTES", "")
_PLACES = list(filter(None, os.environ.get("AVSEP_TEST_PLACES", "").split(os.pathsep)))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CACHES = ("__pycache__", ".cache", ".config", ".nv", ".coverage")
_AT = {"os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}


def _refuse(what: str) -> None:
    descriptor = os.open(_NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what}\n".encode("utf-8", "backslashreplace"))
    os.close(descriptor)
    raise PermissionError(f"a test's child {what}")


def host_of(event: str, arguments: tuple) -> str | None:
    """The machine that an audited call looks for; None for none, or a path."""
    if event in ("socket.connect", "socket.sendto"):
        return str(arguments[1][0]) if isinstance(arguments[1], tuple) else None
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        return os.fsdecode(arguments[0]) if arguments[0] else None
    return None


def is_here(host: str) -> bool:
    """Whether a name or an address is of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost", socket.gethostname())


def _see(event: str, arguments: tuple) -> None:
    if event.startswith("socket."):
        host = host_of(event, arguments)
        if host is not None and not is_here(host):
            _refuse(f"reaches for {host}")
        return
    if not _PLACES:
        return
    if event == "open":
        path, mode, flags = arguments
        if not (set(mode or "") & set("wax+") or (mode is None and flags & _WRITES)):
            return
    elif event in _AT and (event in ("os.rename", "os.link", "os.symlink") or arguments[-1] == -1):
        path = arguments[_AT[event]]
    else:
        return
    if not isinstance(path, str | bytes):
        return
    place = os.path.realpath(os.fsdecode(path))
    inside = any(place == allowed or place.startswith(f"{allowed}/") for allowed in _PLACES)
    if not inside and not any(f"/{cache}" in place for cache in _CACHES):
        _refuse(f"writes to {place}")


if _NOTES:
    sys.addaudithook(_see)
