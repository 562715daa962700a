"""Locks of the kernel's: they end with the process that holds them, however that ends."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from avsep.errors import CheckError

POLL_S = 0.1
# A disk that knows no locks cannot have two machines at work either.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_HELD = (errno.EAGAIN, errno.EACCES)


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a file that is made if it is missing, and stays.

    Raises:
        CheckError: others hold the lock; with `refusal` as its sentence.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        if not lock_if_free(handle.fileno()):
            raise CheckError(refusal)
        yield


def wait_for_lock(
    descriptor: int, limit: float, refusal: Callable[[], str], *, shared: bool = False
) -> None:
    """Lock an open file; where the disk knows no locks, do nothing.

    Args:
        descriptor: of the file; processes that inherit it hold the lock as well.
        limit: the `time.monotonic()` to wait until.
        refusal: makes the sentence for people when others still hold the lock then.
        shared: whether others may hold it too, if they also share it.

    Raises:
        CheckError: others hold the lock.
        OSError: the disk fails.
    """
    while not _try_lock(descriptor, shared=shared):
        if time.monotonic() > limit:
            raise CheckError(refusal())
        time.sleep(POLL_S)


def lock_if_free(descriptor: int) -> bool:
    """Lock an open file if nobody else does; whether it is locked now, or needs no lock."""
    return _try_lock(descriptor, shared=False)


def is_exclusively_held(descriptor: int) -> bool:
    """Whether others hold the lock of an open file for themselves; it is shared if not."""
    return not _try_lock(descriptor, shared=True)


def knows_locks(folder: Path) -> bool:
    """Whether the disk of a folder that can be written to knows locks."""
    path = folder / "lock"
    try:
        with path.open("a") as handle:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True


def _try_lock(descriptor: int, *, shared: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True
