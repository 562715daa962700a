"""Files: atomic writes, JSON, tables, hashes and links."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import FULL_CODES, CheckError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

HASH_CHUNK_BYTES = 1 << 20
MAX_NAME_BYTES = 255  # of a file or folder, on most file systems
MAX_JSON_BYTES = 1 << 30
# A table above the first size may be so many times as large in memory as on the disk.
MAX_UNPACKED_BYTES = 1 << 30
MAX_UNPACKED_RATIO = 200
# At the root of a disk, and often readable by the system only.
_SYSTEM_FOLDERS = frozenset({"lost+found", "$RECYCLE.BIN", "System Volume Information"})
_SPECIAL_FOLDERS = ("/proc/", "/sys/", "/dev/")
_NO_NAME = re.compile("[/\\\\\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a unique temporary sibling of `path`; on success fsync it and rename it to `path`.

    Nothing is left behind if the body raises. A reader sees the old file or the complete new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(path)
    try:
        with naming(path):
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that has become read-only; the cause is raised
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the disk name the file: the system does so when it opens one, not later."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in FULL_CODES:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def temporary_sibling(path: Path) -> Path:
    """A unique hidden path beside `path`, whose name fits wherever the name of `path` does.

    The suffix is kept, because several libraries choose the format by it.
    """
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 16 else ""
    rest = f".{uuid.uuid4().hex[:12]}.tmp{suffix}"
    stem = shortened(path.stem, MAX_NAME_BYTES - len(os.fsencode(rest)) - 1)
    return path.with_name(f".{stem}{rest}")


def shortened(name: str, max_bytes: int) -> str:
    """The start of a file name in at most `max_bytes`; a longer name also loses broken bytes."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= max_bytes else encoded[:max_bytes].decode("utf-8", "ignore")


def expand_home(path: str) -> Path:
    """A path with `~` and `~user` replaced where there is such a home; else it stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (`Path.expanduser` raises instead)


def inside(folder: Path, *names: str) -> Path:
    """The path of an entry below a folder, for names that came from a file or a user.

    Raises:
        CheckError: a name would lead elsewhere, or no disk would take it.
    """
    for name in names:
        if (
            name in ("", ".", "..")
            or _NO_NAME.search(name)
            or len(os.fsencode(name)) > MAX_NAME_BYTES
        ):
            raise CheckError(f"{name!r} cannot be the name of a file or folder in {folder}.")
    return folder.joinpath(*names)


def remove_temporary_files(directory: Path, *, deep: bool = True) -> None:
    """Remove what a killed process has left of `atomic_path` in a folder, and below it if deep."""
    for path in (directory.rglob if deep else directory.glob)(".*.tmp*"):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file of others, which may be anything.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is not a regular file, but a folder, or a device or pipe, which may never
            end; or it is too large. The message says which, without the path.
    """
    # Checked on the open file, which is opened without waiting for the other end of a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as handle:
            content = handle.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return content


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically; half of a surrogate pair has no encoding and is escaped."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def dump_json(value: Any, *, indent: int | None = 1) -> str:
    """JSON with sorted keys and no NaN, the same text for the same value.

    The bytes of a file name that is not UTF-8 are escaped, so that the text always has an encoding.
    """
    text = json.dumps(value, sort_keys=True, indent=indent, allow_nan=False, ensure_ascii=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(path: Path, value: Any) -> None:
    """Write canonical JSON atomically."""
    write_text(path, dump_json(value) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CheckError: the file is missing or damaged.
    """
    return next(_json_values(path, whole=True))


def _json_values(path: Path, *, whole: bool) -> Iterator[Any]:
    """The value of a file, or one value per line."""
    try:
        text = read_bounded(path, MAX_JSON_BYTES).decode("utf-8")
        # Not `splitlines`: a text in the values may hold U+2028 and other line breaks.
        for part in [text] if whole else filter(None, text.split("\n")):
            yield json.loads(part)
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    except OSError as error:
        raise CheckError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckError(f"{path} is damaged: {error}.") from error


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one canonical JSON value per line, atomically."""
    write_text(path, "".join(dump_json(row, indent=None) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[Any]:
    """Read a file with one JSON value per line.

    Raises:
        CheckError: the file is missing or a line is damaged.
    """
    return list(_json_values(path, whole=False))


def append_jsonl(path: Path, row: Any) -> None:
    """Append a JSON value as one line; `read_journal` reads such files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (dump_json(row, indent=None) + "\n").encode("utf-8")
    with naming(path), path.open("a+b") as handle:
        if handle.seek(0, os.SEEK_END):
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":  # a kill cut the last line short
                line = b"\n" + line
        handle.write(line)


def read_journal(path: Path) -> list[Any]:
    """The values in a file of `append_jsonl`, without lines that a kill cut short.

    Returns:
        One value per line; none where there is no file.
    """
    values = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with contextlib.suppress(ValueError, RecursionError):
            values.append(json.loads(line))
    return values


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet table atomically; the same table gives the same bytes."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a parquet table.

    Raises:
        CheckError: the file is missing, is not a parquet file, or is small and has very many rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        unpacked = _unpacked_bytes(pq.read_metadata(path))
        if unpacked > max(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size):
            raise CheckError(
                f"{path} has {path.stat().st_size} bytes and would unpack to {unpacked}; it is"
                " damaged or made to fill the memory."
            )
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing; run the stage that makes it.") from error
    except pa.ArrowException as error:
        raise CheckError(f"{path} is damaged: {error}.") from error
    except OSError as error:
        raise CheckError(f"{path} cannot be read: {error.strerror or error}.") from error


def _unpacked_bytes(metadata: pq.FileMetaData) -> int:
    """About how much memory the values of a table take, apart from texts that repeat."""
    chunks = (
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    return sum(max(8 * chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks)


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """The sha256 of UTF-8 text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def settings_hash(*values: Any) -> str:
    """A short hash of JSON-able settings; markers hold it, so that changed settings are noticed."""
    return sha256_text(dump_json(list(values), indent=None))[:16]


def files_below(root: Path, *, hidden: bool = False, inside: bool = False) -> Iterator[str]:
    """Relative paths of all files below a folder, in a fixed order.

    Links to folders are followed once. Hidden folders, and those of the system, are left out.

    Args:
        root: the folder.
        hidden: yield hidden files too, and hidden folders, which are not searched, with a slash.
        inside: refuse links that lead out of the folder.

    Raises:
        CheckError: a folder cannot be listed, so files would be missing in silence; or a link leads
            nowhere, out of the folder, or to a device.
    """
    seen: set[tuple[int, int]] = set()
    top = os.path.realpath(root)
    waiting = [""]
    while waiting:
        below = waiting.pop()
        folder = root / below
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:  # a link back to a folder we have walked
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                found = [(entry, entry.is_dir()) for entry in entries]
        except OSError as error:
            where = error.filename or folder
            raise CheckError(
                f"{where} cannot be read: {error.strerror}; its files would be missing without a"
                " word. Make it readable, or move it away."
            ) from error
        folders = []
        for entry, is_folder in sorted(found, key=lambda one: one[0].name):
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith("."):  # also a link, wherever it leads: nobody opens it
                if hidden:
                    yield f"{name}/" if is_folder else name
                continue
            if entry.is_symlink():
                _check_link(Path(entry.path), top, inside=inside)
            if not is_folder:
                yield name
            elif entry.name not in _SYSTEM_FOLDERS:
                folders.append(name)
        waiting += reversed(folders)


def _check_link(link: Path, top: str, *, inside: bool) -> None:
    target = os.path.realpath(link)
    in_memory = target.startswith("/dev/shm/")  # noqa: S108  (a disk in memory holds files)
    if target.startswith(_SPECIAL_FOLDERS) and not in_memory:
        raise CheckError(f"{link} leads to {target}, which holds no files; remove the link.")
    if inside and os.path.commonpath([top, target]) != top:
        raise CheckError(
            f"{link} leads to {target}, out of {top}; move the files into the folder, or set"
            " follow_links to true if you trust the link."
        )
    # A link with a suffix names a file, which is missed when it is used.
    if not link.suffix and not link.exists():
        raise CheckError(
            f"{link} leads to {target}, which is not there; is a disk not mounted? Otherwise remove"
            " the link."
        )


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link where possible, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def fresh_directory(path: Path) -> Path:
    """Make `path` an empty directory."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


@contextlib.contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of `path` when the block succeeds.

    Until then `path` stays as it is, and nothing is left behind if the block raises. What a killed
    process has left is removed. Where `path` is a link, the folder that it leads to is replaced, on
    the disk where that lies.
    """
    path = path.resolve()
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = fresh_directory(temporary_sibling(path))
    try:
        yield temporary
        old = temporary_sibling(path)
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def all_or_nothing(folder: Path) -> Iterator[None]:
    """Remove what the block has written to a new or empty folder if the block raises."""
    was_there = folder.exists()
    try:
        yield
    except BaseException:
        if was_there:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
