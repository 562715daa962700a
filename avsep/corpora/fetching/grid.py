"""GRID and Lombard GRID from their records at Zenodo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from avsep.corpora.archives import Member
from avsep.corpora.fetching.choice import choose_clips, choose_speakers, in_turns
from avsep.corpora.fetching.site import Address, Site
from avsep.corpora.grid_names import (
    GRID_CLIP,
    GRID_SPEAKERS,
    LOMBARD_FILE,
    LOMBARD_SPEAKERS,
    grid_gender,
)
from avsep.errors import CheckError, UsageError

ZENODO = "https://zenodo.org"
GRID_RECORD, LOMBARD_RECORD = "3625687", "3736465"
# An older release, in other archives; its alignments are not read from there.
_SHEFFIELD = "https://spandh.dcs.shef.ac.uk/gridcorpus"


def fetch_grid(site: Site, *, servers: Sequence[str], speakers: str, clips: int | None) -> int:
    """Download GRID: the archive of each speaker, or `clips` clips of each; and the alignments.

    Args:
        site: the folder.
        servers: addresses of servers that have the paths of Zenodo; none for Zenodo.
        speakers: see `choose_speakers`.
        clips: number of clips per speaker; None for whole archives.

    Returns:
        The number of files that are in the folder now and right.

    Raises:
        UsageError: a speaker is unknown.
        CheckError: something cannot be downloaded, or is not what it should be.
    """
    chosen = choose_speakers(speakers, in_turns(GRID_SPEAKERS, grid_gender))
    at = servers or (ZENODO,)
    site.begin()
    site.read_record(_records(at, GRID_RECORD))
    site.download_archive(_files(at, GRID_RECORD, "alignments.zip"))
    count = 1
    for speaker in chosen:
        addresses = _files(at, GRID_RECORD, f"{speaker}.zip")
        if not servers:
            old = f"{speaker}.mpg_vcd.zip"
            addresses.append(Address(f"{_SHEFFIELD}/{speaker}/video/{old}", old))
        if clips is None:
            site.download_archive(addresses)
            count += 1
            continue

        def choose(members: Sequence[Member], wanted: str = speaker) -> Mapping[str, Member]:
            found = {}
            for member in members:
                match = GRID_CLIP.fullmatch(member.name)
                if match and match[1] == wanted:
                    found[f"{wanted}/{match[2]}.mpg"] = member
            if not found:
                raise CheckError(
                    f"the archive of {wanted} has no clips {wanted}/<six characters>.mpg."
                )
            return {name: found[name] for name in choose_clips(found, clips)}

        count += len(site.download_members(addresses, choose))
    return count


def fetch_lombard_grid(
    site: Site, *, servers: Sequence[str], speakers: str, clips: int | None, view: str
) -> int:
    """Download Lombard GRID: the archives of one view and of the sound, or single clips.

    Args:
        site: the folder.
        servers: addresses of servers that have the paths of Zenodo; none for Zenodo.
        speakers: see `choose_speakers`; only with `clips`, since an archive has all speakers.
        clips: number of clips per speaker; None for whole archives.
        view: `front` or `side`.

    Returns:
        The number of files that are in the folder now and right.

    Raises:
        UsageError: a speaker is unknown, or speakers are named without a number of clips.
        CheckError: something cannot be downloaded, or is not what it should be.
    """
    if speakers and clips is None:
        raise UsageError(
            "an archive of Lombard GRID has all speakers; add --clips to download single clips of"
            " some of them, or leave out --speakers."
        )
    chosen = set(choose_speakers(speakers, LOMBARD_SPEAKERS))
    at = servers or (ZENODO,)
    site.begin()
    site.read_record(_records(at, LOMBARD_RECORD))
    video, sound = (_files(at, LOMBARD_RECORD, f"lombardgrid_{p}.zip") for p in (view, "audio"))
    if clips is None:
        site.download_archive(video)
        site.download_archive(sound)
        return 2

    def choose(members: Sequence[Member]) -> Mapping[str, Member]:
        return _lombard_clips(members, chosen, clips, view)

    files = site.download_members(video, choose)
    stems = {Path(file).stem for file in files}

    def same(members: Sequence[Member]) -> Mapping[str, Member]:
        found = {Path(member.name).stem: member for member in members if ".wav" in member.name}
        return {f"audio/{stem}.wav": found[stem] for stem in sorted(stems & found.keys())}

    return len(files) + len(site.download_members(sound, same))


def _lombard_clips(
    members: Sequence[Member], speakers: set[str], clips: int, view: str
) -> dict[str, Member]:
    found: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in members:
        match = LOMBARD_FILE.fullmatch(member.name)
        if match and match[2] in speakers and not match[5] and match[6] == "mov":
            found[match[2]][match[1]] = member
    if not found:
        raise CheckError("the archive of Lombard GRID has no clips sN_p_<six characters>.mov.")
    return {
        f"{view}/{stem}.mov": by_stem[stem]
        for _, by_stem in sorted(found.items())
        for stem in choose_clips(by_stem, clips)
    }


def _records(servers: Sequence[str], record: str) -> list[str]:
    return [f"{server.rstrip('/')}/api/records/{record}" for server in servers]


def _files(servers: Sequence[str], record: str, name: str) -> list[Address]:
    return [
        Address(f"{server.rstrip('/')}/records/{record}/files/{name}?download=1", name)
        for server in servers
    ]
