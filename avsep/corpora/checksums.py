"""Checksums of archives, compared only once, since hashing 250 GB takes minutes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from avsep.corpora.archives import Archive, md5_of
from avsep.corpora.source_files import read_list
from avsep.errors import CheckError, UsageError
from avsep.files import read_json, write_json

# MD5 of the joined archives, as the publishers list them.
VOXCELEB2_MD5 = {
    "vox2_dev_mp4.zip": "ee7e132c58ed112e2f4f83b4ac1e2aea",
    "vox2_test_mp4.zip": "b3c555e7a67eb9032640b6209b5c053f",
    "vox2_dev_txt.zip": "0e7a9f083c4efc27982f748f5f0b540a",
    "vox2_test_txt.zip": "f305b5347c9c45362b7c838b561cea7d",
    "vox2_dev_aac.zip": "bbc063c46078a602ca71605645c2a402",
    "vox2_test_aac.zip": "0d2b3ea430a821c33263b5ea37ede312",
}
MAX_LIST_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-f]{32})[ \t]+[*]?(\S.*)")


def read_checksums(path: Path) -> dict[str, str]:
    """Checksums by file name, from a file with lines `<md5>  <name>` as md5sum writes it.

    Raises:
        UsageError: the file cannot be read, or a line is wrong.
    """
    found = {}
    for number, line in enumerate(read_list(path, MAX_LIST_BYTES).split("\n"), 1):
        if not line.strip():
            continue
        if (match := _LINE.fullmatch(line.strip())) is None:
            raise UsageError(f"line {number} of {path} is not of the form `<md5>  <file>`.")
        found[Path(match[2]).name] = match[1]
    return found


def check_archives(
    archives: Iterable[Archive], published: Mapping[str, str], listed: Path | None, work: Path
) -> None:
    """Pass if every archive has its known checksum.

    Args:
        archives: the archives to check.
        published: MD5 by name of the whole archive.
        listed: path of a file with more checksums, which replace published ones; None for none.
        work: folder in which to remember checked archives, by size and time of their files.

    Raises:
        CheckError: an archive has another checksum.
        UsageError: the checksum of an archive is not known.
    """
    known = dict(published) | (read_checksums(listed) if listed else {})
    memory = work / "md5.json"
    try:
        seen: dict[str, str] = read_json(memory)
    except CheckError:
        seen = {}
    for archive in archives:
        if archive.name not in known:
            raise UsageError(
                f"the checksum of {archive.name} is not known; add it to the file of checksums, or"
                " set check_md5 to false."
            )
        state = " ".join(_state(Path(part)) for part in archive.parts)
        if seen.get(state) is None:
            seen[state] = md5_of(archive)
            write_json(memory, seen)
        if seen[state] != known[archive.name]:
            parts = f", joined from {len(archive.parts)} parts," if len(archive.parts) > 1 else ""
            raise CheckError(
                f"{archive.name}{parts} has the MD5 {seen[state]}, not {known[archive.name]};"
                " a part is damaged or incomplete; download it again."
            )


def _state(path: Path) -> str:
    status = path.stat()
    return f"{path.name}:{status.st_size}:{status.st_mtime_ns}"
