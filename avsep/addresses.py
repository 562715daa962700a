"""Which addresses may be opened: https, certificates verified, redirects checked, no other kind."""

from __future__ import annotations

import ipaddress
import re
import ssl
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any

from avsep.errors import CheckError, UsageError


def check_address(url: str) -> None:
    """Pass an https address, or an http address of this machine.

    Raises:
        UsageError: the address is of another kind.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_this_machine(parts.hostname or ""):
        return
    # Without the query, which may hold a key.
    raise UsageError(f"{url.partition('?')[0]} is not an https address.")


def make_opener(
    *, same_host: bool = False, ca_file: Path | None = None
) -> urllib.request.OpenerDirector:
    """What opens addresses: certificates are always verified and redirects are checked.

    Args:
        same_host: follow redirects on the same host only, for addresses that hold a secret.
        ca_file: a certificate that the server should send and does not; None for none.

    Raises:
        UsageError: the file holds no certificate.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{ca_file} does not hold a certificate: {error}.") from error
    return opener_with(context, SafeRedirects(same_host=same_host))


def opener_with(
    context: ssl.SSLContext, redirects: urllib.request.HTTPRedirectHandler
) -> urllib.request.OpenerDirector:
    """What opens addresses with these certificates and this rule for redirects."""
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), redirects)
    opener.addheaders = [("User-Agent", "avsep")]  # servers should be able to tell who asks
    return opener


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses only, and to the same host only where asked to.

    Attributes:
        stated_sha256: the hash of the file as the redirecting server states it, or empty.
    """

    def __init__(self, *, same_host: bool) -> None:
        self._same_host = same_host
        self.stated_sha256 = ""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to send on; raises CheckError where it may not be sent there."""
        # The hub states the hash where it redirects to the storage, which does not.
        self.stated_sha256 = self.stated_sha256 or stated_sha256_of(headers)
        here, there = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if self._same_host and (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise CheckError(
                f"the server redirects to another one ({there.hostname}), which must not get the"
                " key."
            )
        try:
            check_address(newurl)
            if _is_this_machine(there.hostname or "") and not _is_this_machine(here.hostname or ""):
                raise UsageError(f"{there.hostname} is this machine.")
        except UsageError as error:
            raise CheckError(
                f"the server of {here.hostname} redirects elsewhere: {error}"
            ) from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def stated_sha256_of(headers: Any) -> str:
    """The sha256 of a large file in the headers of the Hugging Face Hub; empty where none is.

    `X-Linked-ETag` names the file in the large-file storage. A plain `ETag` is the sha256 only
    where it has that length and the server is a hub, which names the commit.
    """
    names = ["X-Linked-ETag", *(["ETag"] if headers.get("X-Repo-Commit") else [])]
    for name in names:
        tag = headers.get(name, "").strip().removeprefix("W/").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", tag):
            return tag
    return ""


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
