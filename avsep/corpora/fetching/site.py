"""Downloads into the folder of one corpus: archives, their checksums, and single clips of them."""

from __future__ import annotations

import hashlib
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avsep.addresses import make_opener
from avsep.corpora.archives import CHUNK_BYTES, Member
from avsep.corpora.fetching.pins import Pins
from avsep.corpora.fetching.record import PublishedFile, read_record
from avsep.corpora.fetching.remote_zip import RemoteZip
from avsep.corpora.source_files import write_file
from avsep.downloading import download_resumable
from avsep.errors import CheckError, ItemError
from avsep.file_lock import locked
from avsep.progress import StepProgress, hidden_progress

MAX_ARCHIVE_BYTES = 64 << 30
LOCK_FILE = ".fetch.lock"

Got = TypeVar("Got")


@dataclass(frozen=True)
class Address:
    """Where a file is.

    Attributes:
        url: its address.
        name: path to write it to, in the folder; another one for an archive with other bytes.
    """

    url: str
    name: str


class Site:
    """Downloads into one folder, which it holds against other processes from `begin` to `end`.

    Attributes:
        folder: the folder of the copy.
        steps: shows the progress of each download.
        say: called with a sentence that a user should read.
        sleep: waits between two tries.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: StepProgress = hidden_progress,
        say: Callable[[str], None] = lambda _sentence: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder, self.steps, self.say, self.sleep = folder, steps, say, sleep
        self._opener = make_opener()
        self._published: Mapping[str, PublishedFile] = {}
        self._held = ExitStack()

    def begin(self) -> None:
        """Hold the folder; to be called before the first download.

        Raises:
            CheckError: another process downloads into it, or its records are damaged.
        """
        self._held.enter_context(
            locked(
                self.folder / LOCK_FILE,
                f"another `avsep fetch` is downloading into {self.folder}; wait until it has ended,"
                " or choose another folder by --into.",
            )
        )
        self._pins = Pins(self.folder)  # what another process wrote before counts too

    def end(self) -> None:
        """Let others download into the folder."""
        self._held.close()

    def read_record(self, urls: Iterable[str]) -> None:
        """Learn sizes and checksums from the first record that answers.

        Without one, they are recorded at the first download.
        """
        for url in urls:
            try:
                self._published = read_record(url)
            except CheckError as error:
                self.say(f"No published checksums, so those of this download count: {error}")
            else:
                return

    def download_small(self, name: str, urls: Sequence[str], max_bytes: int) -> None:
        """Download a small file of which nothing is known.

        Raises:
            CheckError: no address has it.
        """
        addresses = [Address(url, name) for url in urls]
        _first(addresses, lambda one: self._download(one, lambda _file: None, max_bytes))

    def download_file(self, name: str, urls: Sequence[str], *, size: int, sha256: str) -> None:
        """Download a file whose hash is known, unless it is there.

        Raises:
            CheckError: no address has it.
        """

        def verify(file: Path) -> None:
            if (found := _digest(file, "sha256")) != sha256:
                raise CheckError(f"{name} has the sha256 {found}, not {sha256}.")

        path = self.folder / name
        if path.is_file() and path.stat().st_size == size and _digest(path, "sha256") == sha256:
            return
        addresses = [Address(url, name) for url in urls]
        _first(addresses, lambda one: self._download(one, verify, size))

    def download_archive(self, addresses: Sequence[Address]) -> None:
        """Download a zip archive, or what is missing of it.

        Args:
            addresses: where it is; the next one is asked where one fails.

        Raises:
            CheckError: all failed, or a copy that is there already is not right.
        """
        for address in addresses:
            path = self.folder / address.name
            if path.is_file():
                try:
                    self._check_archive(path, address.name)
                except CheckError as error:
                    raise CheckError(f"{error} Move {path} away, and run again.") from error
                return

        def ask(address: Address) -> None:
            published = self._published.get(address.name)
            total = published.size_bytes if published else 0
            with self.steps(f"bytes of {address.name}", total) as advance:
                self._download(
                    address,
                    lambda file: self._check_archive(file, address.name),
                    total or MAX_ARCHIVE_BYTES,
                    advance,
                )

        _first(addresses, ask)

    def download_members(
        self,
        addresses: Sequence[Address],
        choose: Callable[[Sequence[Member]], Mapping[str, Member]],
    ) -> list[Path]:
        """Download some members of an archive without the rest, unless they are there.

        Args:
            addresses: where the archive is; the next one is asked where one cannot be listed.
            choose: chooses the members, by the path to write in the folder.

        Raises:
            CheckError: all addresses failed, or a member is damaged.
        """
        archive = _first(addresses, self._open_archive)
        chosen = choose(archive.members)
        with self.steps(f"clips of {archive.name}", len(chosen)) as advance:
            for name, member in chosen.items():
                if not _is_member(self.folder / name, member):
                    try:
                        write_file(self.folder / name, archive.read(member))
                    except ItemError as error:
                        raise CheckError(error.message) from error
                advance(1)
        return [self.folder / name for name in chosen]

    def _open_archive(self, address: Address) -> RemoteZip:
        archive = RemoteZip(address.url, name=address.name, opener=self._opener, sleep=self.sleep)
        self._check_size(address.name, archive.size_bytes)
        self._pins.check_listing(address.name, archive.listing)
        return archive

    def _download(
        self,
        address: Address,
        verify: Callable[[Path], None],
        max_bytes: int,
        advance: Callable[[float], None] = lambda _bytes: None,
    ) -> None:
        download_resumable(
            address.url,
            self.folder / address.name,
            label=address.name,
            opener=self._opener,
            max_bytes=max_bytes,
            verify=verify,
            advance=advance,
            sleep=self.sleep,
        )

    def _check_archive(self, path: Path, name: str) -> None:
        """Pass if an archive is what was published, or what was recorded; else record it."""
        self._check_size(name, path.stat().st_size)
        published, recorded = self._published.get(name), self._pins.md5(name)
        known = published.md5 if published and published.md5 else recorded
        found = _digest(path, "md5")
        if known and found != known:
            by = "recorded" if known == recorded else "published"
            raise CheckError(f"{name} has the MD5 {found}, not the {by} one, {known}.")
        if not zipfile.is_zipfile(path):
            raise CheckError(f"{name} is not a zip archive.")
        if recorded != found:
            self._pins.record_md5(name, found)

    def _check_size(self, name: str, size: int) -> None:
        published = self._published.get(name)
        if published and published.size_bytes != size:
            raise CheckError(f"{name} has {size} bytes, not the published {published.size_bytes}.")


def _first(addresses: Sequence[Address], ask: Callable[[Address], Got]) -> Got:
    """What the first address answers; CheckError with the reason of each if all fail."""
    reasons = []
    for address in addresses:
        try:
            return ask(address)
        except CheckError as error:
            reasons.append(str(error))
    raise CheckError(" ".join(dict.fromkeys(reasons)))


def _digest(path: Path, name: str) -> str:
    def new() -> hashlib._Hash:
        return hashlib.new(name, usedforsecurity=False)

    with path.open("rb") as handle:
        return hashlib.file_digest(handle, new).hexdigest()


def _is_member(path: Path, member: Member) -> bool:
    """Whether a file has the size and the checksum of a member."""
    if not path.is_file() or path.stat().st_size != member.size_bytes:
        return False
    crc = 0
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc == member.crc
