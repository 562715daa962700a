"""CREMA-D from GitHub: its lists, and the clips that Git LFS keeps.

A clip in the repository is a pointer: three lines of text with the size and the sha256 of the clip.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from avsep.corpora.crema_d_names import DEMOGRAPHICS, FILENAMES, read_genders, read_stems
from avsep.corpora.fetching.choice import choose_clips, choose_speakers, in_turns
from avsep.corpora.fetching.site import Site
from avsep.errors import CheckError

RAW, MEDIA = "https://raw.githubusercontent.com", "https://media.githubusercontent.com"
_PLACE = "CheyneyComputerScience/CREMA-D/master"
MAX_POINTER_BYTES = 1024
MAX_CLIP_BYTES = 64 << 20
POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n?"
)


def fetch_crema_d(site: Site, *, servers: Sequence[str], speakers: str, clips: int | None) -> int:
    """Download clips of CREMA-D and its lists.

    Args:
        site: the folder.
        servers: addresses of servers with the paths of both servers of GitHub; none for GitHub.
        speakers: see `choose_speakers`.
        clips: number of clips per speaker; None for all.

    Returns:
        The number of clips that are in the folder now and right.

    Raises:
        UsageError: a speaker is unknown, or a list is not one of CREMA-D.
        CheckError: something cannot be downloaded, or is not what it should be.
    """
    raw = [f"{server.rstrip('/')}/{_PLACE}" for server in servers or (RAW,)]
    media = [f"{server.rstrip('/')}/media/{_PLACE}" for server in servers or (MEDIA,)]
    site.begin()
    for name in (DEMOGRAPHICS, FILENAMES):
        if not (site.folder / name).is_file():
            site.download_small(name, [f"{base}/{name}" for base in raw], max_bytes=4 << 20)
    genders = read_genders(site.folder / DEMOGRAPHICS)
    by_actor: dict[str, list[str]] = defaultdict(list)
    for stem in read_stems(site.folder / FILENAMES):
        by_actor[stem.partition("_")[0]].append(stem)
    actors = in_turns(sorted(by_actor), lambda actor: genders.get(actor, ""))
    count = 0
    for actor in choose_speakers(speakers, actors):
        stems = choose_clips(by_actor[actor], clips)
        with site.steps(f"clips of {actor}", len(stems)) as advance:
            for stem in stems:
                _fetch_clip(site, f"VideoFlash/{stem}.flv", raw, media)
                count += 1
                advance(1)
    return count


def _fetch_clip(site: Site, name: str, raw: Sequence[str], media: Sequence[str]) -> None:
    pointer = f".pointers/{Path(name).stem}.txt"  # hidden, since it is not a clip
    path = site.folder / pointer
    if not path.is_file():
        site.download_small(pointer, [f"{base}/{name}" for base in raw], MAX_POINTER_BYTES)
    found = POINTER.fullmatch(path.read_bytes())
    if found is None:
        path.unlink()
        raise CheckError(f"the server does not answer with the pointer of {name} to Git LFS.")
    size = int(found[2])
    if size > MAX_CLIP_BYTES:
        raise CheckError(f"{name} has {size} bytes; at most {MAX_CLIP_BYTES} are accepted.")
    site.download_file(
        name, [f"{base}/{name}" for base in media], size=size, sha256=found[1].decode()
    )
