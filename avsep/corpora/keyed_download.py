"""Fetch archives with the user's own key, in pieces that survive a cut connection.

The key comes from the environment variable AVSEP_VOXCELEB_KEY alone and is told to nobody but the
server. Certificates are always verified; where the server forgets its intermediate one, a file
can supply it.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from avsep.errors import CheckError, UsageError

KEY_VARIABLE = "AVSEP_VOXCELEB_KEY"
# Of the official release; the sound is in the mp4 files too.
VOXCELEB2_FILES = (
    "vox2_dev_txt.zip",
    "vox2_test_txt.zip",
    "vox2_test_mp4.zip",
    *(f"vox2_dev_mp4_parta{letter}" for letter in "abcdefghi"),
)
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0
TRIES = 6
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")
_HEAL = frozenset({408, 425, 429, 500, 502, 503, 504})

Report = Callable[[int, int], None]
"""Called with the bytes that are there and those that there will be."""


class KeyedServer:
    """A server that gives archives for a key.

    Attributes:
        address: of its download page, without key and file, as the publishers' e-mail has it.
    """

    def __init__(
        self,
        address: str,
        *,
        ca_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urllib.parse.urlsplit(address)
        local = parts.hostname in ("127.0.0.1", "localhost")
        if parts.scheme != "https" and not (local and parts.scheme == "http"):
            raise UsageError("the server's address must begin with https://.")
        if parts.query or parts.fragment or parts.username:
            raise UsageError(
                f"give the server's address without key and file, only what is before the `?`;"
                f" the key goes into the environment variable {KEY_VARIABLE}."
            )
        self.address = address
        self._sleep = sleep
        context = ssl.create_default_context()
        if ca_file is not None:
            try:
                context.load_verify_locations(cafile=str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"{ca_file} holds no certificate: {error}.") from error
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _SameHost()
        )

    def fetch(self, name: str, folder: Path, report: Report) -> Path:
        """Fetch one file, or what is left of it; returns its path.

        Raises:
            UsageError: no key, or no name of a file.
            CheckError: the server refuses, or it failed too often; what is there stays.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of an archive.")
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise UsageError(
                f"the environment variable {KEY_VARIABLE} is empty; put the key of the publishers'"
                " e-mail there."
            )
        target, part = folder / name, folder / f"{name}.download"
        if target.is_file():
            report(target.stat().st_size, target.stat().st_size)
            return target
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(TRIES):
            before = part.stat().st_size if part.exists() else 0
            try:
                self._continue(name, key, part, report)
            except urllib.error.HTTPError as error:
                _refuse(error, name)
            except (OSError, http.client.HTTPException, _CutError):
                pass  # what came so far stays; the next try goes on there
            else:
                part.replace(target)
                return target
            came = part.stat().st_size if part.exists() else 0
            if attempt < TRIES - 1 and came == before:
                self._sleep(min(300.0, 5.0 * 2**attempt) * random.uniform(0.5, 1.5))
        raise CheckError(
            f"{name} could not be fetched in {TRIES} tries; what came is kept, so run it again."
        )

    def _continue(self, name: str, key: str, part: Path, report: Report) -> None:
        have = part.stat().st_size if part.exists() else 0
        query = urllib.parse.urlencode({"key": key, "file": name})
        request = urllib.request.Request(f"{self.address}?{query}")  # noqa: S310
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            answer = self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # it was all there already
                return
            raise
        with answer:
            if answer.headers.get_content_type() == "text/html":
                raise CheckError(
                    f"the server answered with a page, not with {name}; is the key still valid?"
                )
            total = _total_bytes(answer, have)
            fresh = not have or answer.status != 206
            with part.open("wb" if fresh else "ab") as handle:
                _copy(answer, handle, 0 if fresh else have, total, report)


class _CutError(Exception):
    """The connection ended before the file did."""


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects on the same host alone: the key must not go elsewhere."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req, fp, code, msg, headers, newurl
    ) -> urllib.request.Request | None:
        """A request to the same host, or none."""
        here, there = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise CheckError(
                f"the server leads to another one ({there.netloc}), which gets no key."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _total_bytes(answer: http.client.HTTPResponse, have: int) -> int:
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            raise _CutError("it goes on at another place")
        return int(found[2])
    return int(answer.headers.get("Content-Length") or 0)


def _copy(
    answer: http.client.HTTPResponse, handle: IO[bytes], have: int, total: int, report: Report
) -> None:
    while chunk := answer.read(CHUNK_BYTES):
        handle.write(chunk)
        have += len(chunk)
        report(have, total)
    handle.flush()
    os.fsync(handle.fileno())
    if total and have < total:
        raise _CutError(f"{have} of {total} bytes came")


def _refuse(error: urllib.error.HTTPError, name: str) -> None:
    """Raise where another try cannot help; says nothing of the address, which holds the key."""
    if error.code in (401, 403):
        raise CheckError(f"the server refuses {name} (HTTP {error.code}); is the key valid?")
    if error.code not in _HEAL:
        raise CheckError(f"the server has no {name} (HTTP {error.code}).")
