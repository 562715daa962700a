"""Downloads over HTTPS: checked, limited in size, and never sent on to an address of another kind.

`download` fetches a file whole or not at all; `download_resumable` keeps what arrived and continues
there; `download_range` fetches a part of a file. Errors name a file by its label, never by its
address, since an address may hold a key.
"""

from __future__ import annotations

import hashlib
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
from typing import Any

from avsep.addresses import SafeRedirects, check_address, opener_with, stated_sha256_of
from avsep.errors import CheckError, disk_fault
from avsep.file_lock import locked
from avsep.file_version import read_version, version_of, version_path, write_version
from avsep.files import atomic_path, naming

MAX_BYTES = 2 << 30
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0  # without a byte from the server
TRIES = 6
MAX_DELAY_S = 600.0  # between two tries
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP statuses worth another try

Advance = Callable[[int], None]
"""Called with the number of bytes that have just arrived."""


def download(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    recorded: str = "",
    max_bytes: int = MAX_BYTES,
    advance: Advance = lambda _bytes: None,
) -> str:
    """Download a file in one try; returns its sha256.

    A file whose server states its sha256, as Hugging Face does, must have it.

    Args:
        url: an https address; http is allowed for this machine only.
        path: where to write the file. It appears only when the whole, right file has arrived.
        sha256: the hash that the file must have; empty for any.
        recorded: the hash of an earlier download, which the file must have where the server states
            none; empty for any.
        max_bytes: a larger file is refused.
        advance: see `Advance`.

    Raises:
        UsageError: the address is of another kind.
        CheckError: there is no connection, the server reports an error, or the file is too large,
            incomplete or not the expected one.
    """
    check_address(url)
    digest = hashlib.sha256()
    redirects = SafeRedirects(same_host=False)
    try:
        with (
            opener_with(ssl.create_default_context(), redirects).open(
                url, timeout=TIMEOUT_S
            ) as answer,
            atomic_path(path) as temporary,
            temporary.open("wb") as handle,
        ):

            def write(chunk: bytes) -> None:
                digest.update(chunk)
                handle.write(chunk)

            total = _content_length(answer)
            count = _receive(answer, write, url, 0, total, max_bytes, advance)
            if total is not None and count != total:
                raise CheckError(f"{url} broke off after {count} of {total} bytes; try again.")
            found = digest.hexdigest()
            stated = stated_sha256_of(answer.headers) or redirects.stated_sha256
            for expected in (sha256, stated or recorded):
                if expected and found != expected:
                    raise CheckError(
                        f"{url} is not the expected file: sha256 {found}, not {expected}."
                    )
    except urllib.error.HTTPError as error:
        raise CheckError(f"{url} is not there: the server answers {error.code}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise CheckError(f"{url} cannot be downloaded: {_cause(error)}.") from error
    return found


def download_resumable(
    url: str,
    path: Path,
    *,
    label: str,
    opener: urllib.request.OpenerDirector,
    max_bytes: int = MAX_BYTES,
    verify: Callable[[Path], None] = lambda _file: None,
    hint: str = "",
    advance: Advance = lambda _bytes: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Download a file in several tries, each continuing where the last one ended.

    What has arrived is kept in `<path>.download`, also when this function fails, unless `verify`
    refuses the file. If the file has changed on the server since, it is downloaded from its
    beginning; `<path>.download.json` has the version that was begun.

    Args:
        url: an https address, which may hold a secret.
        path: where to write the file. It appears only when all bytes have arrived.
        label: what errors call the file.
        opener: from `avsep.addresses.make_opener`.
        max_bytes: a larger file is refused.
        verify: called with the complete file before it is put in place; a CheckError that it
            raises goes through, and the file is removed.
        hint: what a user should check where the server refuses, e.g. `is the key valid?`.
        advance: see `Advance`; what an earlier run left is counted too.
        sleep: waits between two tries.

    Raises:
        UsageError: the address is of another kind.
        CheckError: the server refuses the file, all tries failed, or another process is
            downloading it.
    """
    check_address(url)
    part = path.with_name(f"{path.name}.download")
    with locked(part, f"another process is downloading {label}; wait until it has ended."):
        try:
            _in_several_tries(url, part, label, opener, max_bytes, hint, advance, sleep)
            _check_complete(part, verify)
            part.replace(path)
        finally:
            if not _size(part):
                part.unlink(missing_ok=True)
                version_path(part).unlink(missing_ok=True)


def _in_several_tries(
    url: str,
    part: Path,
    label: str,
    opener: urllib.request.OpenerDirector,
    max_bytes: int,
    hint: str,
    advance: Advance,
    sleep: Callable[[float], None],
) -> None:
    advance(_size(part))
    for attempt in range(TRIES):
        before, asked_s = _size(part), 0.0
        try:
            _continue(url, part, label, opener, max_bytes, hint, advance)
        except urllib.error.HTTPError as error:
            asked_s = _wait_or_raise(error, label, hint)
        except (OSError, http.client.HTTPException) as error:
            # The next try continues after the bytes that have arrived.
            if fault := disk_fault(error):
                raise CheckError(f"{label} cannot be written: {fault}.") from None
        else:
            return
        if attempt < TRIES - 1 and (asked_s or _size(part) == before):
            sleep(_delay_s(attempt, asked_s))
    raise CheckError(
        f"{label} could not be downloaded in {TRIES} tries; what has arrived is kept, so run the"
        " command again."
    )


def download_range(
    url: str,
    start: int,
    end: int,
    *,
    label: str,
    opener: urllib.request.OpenerDirector,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[bytes, int]:
    """Download the bytes `start` to `end` (exclusive) of a file, in several tries.

    Args:
        url: an https address.
        start: first byte.
        end: byte after the last one; it must not be beyond the end of the file.
        label: what errors call the file.
        opener: from `avsep.addresses.make_opener`.
        sleep: waits between two tries.

    Returns:
        The bytes, and the size of the whole file.

    Raises:
        UsageError: the address is of another kind.
        CheckError: the server refuses, sends whole files only, or all tries failed.
    """
    check_address(url)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{end - 1}"})  # noqa: S310
    for attempt in range(TRIES):
        asked_s = 0.0
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                _check_not_a_page(answer, label, "")
                if answer.status != 206:
                    raise CheckError(
                        f"the server of {label} sends whole files only, no parts of them; leave out"
                        " --clips, or name another --server."
                    )
                total = _total_of_range(answer, start)
                content = answer.read(end - start)
            if len(content) == end - start:
                return content, total
        except urllib.error.HTTPError as error:
            if error.code == 416:
                raise CheckError(
                    f"{label} has no bytes {start} to {end}: it has changed on the server."
                ) from None
            asked_s = _wait_or_raise(error, label, "")
        except (OSError, http.client.HTTPException):
            pass
        if attempt < TRIES - 1:
            sleep(_delay_s(attempt, asked_s))
    raise CheckError(f"{label} could not be read in {TRIES} tries; run the command again later.")


class _ConnectionLostError(OSError):
    """The connection ended before the file did."""


def _continue(
    url: str,
    part: Path,
    label: str,
    opener: urllib.request.OpenerDirector,
    max_bytes: int,
    hint: str,
    advance: Advance,
) -> None:
    """Ask for the rest of a file and append it; start over where the server sends all of it."""
    have = _size(part)
    begun = read_version(part) if have else None
    if have and begun is None:  # of which version these bytes are, nobody knows
        part.write_bytes(b"")  # the lock is that of this file, so it stays
        advance(-have)
        have = 0
    server = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
    request = urllib.request.Request(url)  # noqa: S310
    if have:
        request.add_header("Range", f"bytes={have}-")
        if begun and begun.server == server and begun.condition:
            request.add_header("If-Range", begun.condition)
    try:
        answer = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # there is nothing after these bytes
            if begun and begun.size_bytes not in (None, have):
                raise _start_again(part, have, advance) from None
            return
        raise
    with answer:
        _check_not_a_page(answer, label, hint)
        total = _content_length(answer)
        if answer.status == 206:
            total = _total_of_range(answer, have)
            # Not every server heeds the condition; one without it says the size at least.
            if begun and not begun.is_that_of(version_of(server, answer.headers, total)):
                raise _start_again(part, have, advance)
        elif have:
            advance(-have)
            have = 0
        if not have:
            part.write_bytes(b"")  # before the version: what is left of another is not of this one
            write_version(part, version_of(server, answer.headers, total))
        with naming(part), part.open("ab" if have else "wb") as handle:
            count = _receive(answer, handle.write, label, have, total, max_bytes, advance)
            handle.flush()
            os.fsync(handle.fileno())
        if total and count < total:
            raise _ConnectionLostError(f"{count} of {total} bytes arrived")


def _start_again(part: Path, have: int, advance: Advance) -> _ConnectionLostError:
    """Forget what has arrived of a file that has changed on the server."""
    part.write_bytes(b"")  # the lock is that of this file, so it stays
    advance(-have)
    return _ConnectionLostError("the file has changed on the server")


def _check_complete(part: Path, verify: Callable[[Path], None]) -> None:
    try:
        verify(part)
    except CheckError:
        part.unlink(missing_ok=True)  # to continue a wrong file would never make it right
        raise


def _check_not_a_page(answer: Any, label: str, hint: str) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise CheckError(
            f"the server answered with a page instead of {label}; {hint or 'try again later.'}"
        )


def _wait_or_raise(error: urllib.error.HTTPError, label: str, hint: str) -> float:
    """The seconds that a busy server asks to wait; 0 if it does not say."""
    if error.code not in _TEMPORARY:
        # `from None`: the error that is hidden this way holds the address.
        raise CheckError(_refusal(error.code, label, hint)) from None
    text = error.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _delay_s(attempt: int, asked_s: float) -> float:
    return min(MAX_DELAY_S, max(asked_s, 5.0 * 2**attempt * random.uniform(0.5, 1.5)))


def _receive(
    answer: Any,
    write: Callable[[bytes], object],
    label: str,
    have: int,
    total: int | None,
    max_bytes: int,
    advance: Advance,
) -> int:
    """Copy the body of an answer; returns the size of the file with the bytes it had."""
    if total is not None and total > max_bytes:
        raise CheckError(f"{label} has {total} bytes; at most {max_bytes} are accepted.")
    while chunk := answer.read(CHUNK_BYTES):
        have += len(chunk)
        if have > max_bytes:
            raise CheckError(f"{label} has more than the {max_bytes} bytes that are accepted.")
        write(chunk)
        advance(len(chunk))
    return have


def _content_length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _total_of_range(answer: Any, have: int) -> int:
    """The size of the whole file, from an answer with a part of it."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        raise _ConnectionLostError("the server continues at another position")
    return int(found[2])


def _refusal(status: int, label: str, hint: str) -> str:
    if status in (401, 403):
        return f"the server refuses {label} (HTTP {status}); {hint or 'try again later.'}"
    if 300 <= status < 400:
        return f"the server redirects {label} to an address that is not allowed."
    return f"the server does not have {label} (HTTP {status})."


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(getattr(reason, "strerror", None) or reason or error or type(error).__name__)
