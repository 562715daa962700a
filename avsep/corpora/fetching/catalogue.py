"""The corpora that `avsep fetch` downloads without a login."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from avsep.addresses import check_address
from avsep.corpora.fetching.crema_d import fetch_crema_d
from avsep.corpora.fetching.grid import fetch_grid, fetch_lombard_grid
from avsep.corpora.fetching.site import Site
from avsep.corpora.licences import CREMA_D, GRID, LOMBARD_GRID
from avsep.errors import UsageError

LICENCES = MappingProxyType({"grid": GRID, "lombard-grid": LOMBARD_GRID, "crema-d": CREMA_D})
VIEWS = ("front", "side")


def fetch(
    name: str,
    site: Site,
    *,
    servers: Sequence[str] = (),
    speakers: str = "",
    clips: int | None = None,
    view: str = "front",
) -> int:
    """Download a corpus, or a part of it; see the function of each corpus.

    Returns:
        The number of files that are in the folder now and right.

    Raises:
        UsageError: an option is wrong.
        CheckError: something cannot be downloaded, or is not what it should be; or another process
            downloads into the folder.
    """
    for server in servers:
        check_address(server)
    if clips is not None and clips < 1:
        raise UsageError(f"--clips is {clips}; it must be at least 1.")
    if view not in VIEWS:
        raise UsageError(f"--view is {view!r}; it may be front or side.")
    try:
        if name == "grid":
            return fetch_grid(site, servers=servers, speakers=speakers, clips=clips)
        if name == "crema-d":
            return fetch_crema_d(site, servers=servers, speakers=speakers, clips=clips)
        return fetch_lombard_grid(site, servers=servers, speakers=speakers, clips=clips, view=view)
    finally:
        site.end()
