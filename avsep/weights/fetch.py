"""One file from the network: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from avsep.errors import CheckError, UsageError
from avsep.files import atomic_path

MAX_BYTES = 2 << 30
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    max_bytes: int = MAX_BYTES,
    advance: Callable[[int], None] = lambda _bytes: None,
) -> str:
    """Download a file to `path`; returns its sha256.

    Args:
        url: https; http is allowed for this machine alone.
        path: of the file; it is there only when the whole file came and is the right one.
        sha256: that it must have; empty for any.
        max_bytes: a larger file is refused.
        advance: takes the number of bytes that have just come.

    Raises:
        UsageError: another kind of address.
        CheckError: no connection, an error of the server, a file too large, cut short or changed.
    """
    check_address(url)
    opener = urllib.request.build_opener(_SafeRedirects)
    digest = hashlib.sha256()
    try:
        with (
            opener.open(url, timeout=TIMEOUT_S) as answer,
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
        ):
            promised = _length(answer)
            if promised is not None and promised > max_bytes:
                raise CheckError(f"{url} has {promised} bytes; at most {max_bytes} are taken.")
            count = 0
            while chunk := answer.read(CHUNK_BYTES):
                count += len(chunk)
                if count > max_bytes:
                    raise CheckError(f"{url} has more than {max_bytes} bytes, which are refused.")
                digest.update(chunk)
                file.write(chunk)
                advance(len(chunk))
            if promised is not None and count != promised:
                raise CheckError(f"{url} broke off after {count} of {promised} bytes; try again.")
            found = digest.hexdigest()
            if sha256 and found != sha256:
                raise CheckError(f"{url} is not the expected file: sha256 {found}, not {sha256}.")
    except urllib.error.HTTPError as error:
        raise CheckError(f"{url} is not there: the server answers {error.code}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise CheckError(f"{url} cannot be fetched: {_cause(error)}.") from error
    return found


def check_address(url: str) -> None:
    """Refuse what is no https address; http is for this machine alone.

    Raises:
        UsageError: another kind of address.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_here(parts.hostname or ""):
        return
    raise UsageError(f"{url} is no https address.")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address of the same kind only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl)
        except UsageError as error:
            raise CheckError(f"the server of {req.full_url} leads elsewhere: {error}") from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(getattr(reason, "strerror", None) or reason or error or type(error).__name__)
