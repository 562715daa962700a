"""What GRID and Lombard GRID share: clips on the disk or in zip archives, read in place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from avsep.corpora.archives import Archive, find_archives, list_members, read_member
from avsep.corpora.checksums import check_archives, read_checksums
from avsep.corpora.config import GridConfig, LombardGridConfig
from avsep.corpora.corpus import Corpus
from avsep.corpora.fetching.pins import MD5_FILE
from avsep.corpora.found_file import FoundFile
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import is_linked, link, read_bytes, write_file
from avsep.errors import ItemError, Reason
from avsep.files import files_below

MAX_SMALL_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ZipCorpus(Corpus):
    """A copy whose files are extracted, in archives, or some of each.

    Attributes:
        config: settings of the corpus.
    """

    config: GridConfig | LombardGridConfig

    @cached_property
    def root(self) -> Path:
        """The folder of the copy.

        Raises:
            UsageError: there is none; the message says how to get one.
        """
        return self.check_root(self.config.root, can_be_fetched=True)

    @cached_property
    def archives(self) -> dict[str, Archive]:
        """The zip archives of the copy, by name; those in `md5.txt` have its checksums.

        Raises:
            CheckError: an archive is damaged, or has another checksum.
        """
        below = (f for f in files_below(self.root) if Path(f).suffix.lower() == ".zip")
        archives = {a.name: a for a in find_archives(self.root / file for file in below)}
        pinned = self.root / MD5_FILE
        if self.config.check_md5 and pinned.is_file():
            known = read_checksums(pinned)
            listed = [archive for name, archive in archives.items() if name in known]
            check_archives(listed, known, None, self.workspace.work("download"))
        return archives

    def find(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], FoundFile]]:
        """The files whose path matches; those in archives come first."""
        for archive in self.archives.values():
            for member in list_members(archive):
                if match := pattern.fullmatch(member.name):
                    yield match, FoundFile(member.name, member)
        for file in files_below(self.root):
            if match := pattern.fullmatch(file):
                yield match, FoundFile(str(self.root / file))

    def unknown_names(self, suffix: str, pattern: re.Pattern[str]) -> str:
        """How many files with a suffix do not match a pattern, in words; empty for none."""
        every = re.compile(rf"(?:.*/)?(?!\._)[^/]*{re.escape(suffix)}")
        names = [match[0] for match, _ in self.find(every) if not pattern.fullmatch(match[0])]
        return f"{len(names)} file(s) not named as clips, such as {names[0]}" if names else ""

    def read(self, file: FoundFile) -> bytes:
        """The bytes of a small file.

        Raises:
            ItemError: it is damaged, missing or too large.
        """
        if file.member is None:
            return read_bytes(Path(file.path), MAX_SMALL_BYTES)
        if file.member.size_bytes > MAX_SMALL_BYTES:
            raise ItemError(
                Reason.BAD_ANNOTATION,
                f"{file.path} in {file.member.archive} has {file.member.size_bytes} bytes; at most"
                f" {MAX_SMALL_BYTES} are read.",
            )
        return b"".join(read_member(self.archives[file.member.archive], file.member))

    def bring(self, clip: SourceClip) -> FileInfo:
        """Link or extract the file of a clip.

        Raises:
            ItemError: it is damaged or missing.
        """
        if clip.member is None:
            return link(clip, self.workspace.raw)
        chunks = read_member(self.archives[clip.member.archive], clip.member)
        return write_file(self.workspace.raw / clip.path, chunks)

    def is_present(self, clip: SourceClip, info: FileInfo) -> bool:
        """Whether the raw file of a clip is still there; `clean` checks its bytes."""
        if clip.member is None and is_linked(clip, self.workspace.raw):
            return True
        path = self.workspace.raw / clip.path
        return not path.is_symlink() and path.is_file() and path.stat().st_size == info.size_bytes
