"""A cache with a limit in bytes that drops the values used longest ago."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class ByteCache:
    """Values by key, of at most `max_bytes` together. Safe for threads and after a fork.

    Pickling keeps the limit and drops the values.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}; 0 turns the cache off.")
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock, self._pid = threading.Lock(), os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"])  # type: ignore[misc]

    def get(self, key: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        """The value of `key`; if it is missing, `make` returns it and its size in bytes.

        Two threads that miss the same key at once both make it; neither waits for the other.
        """
        with self._held():
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
        value, size_bytes = make()
        with self._held():
            if key not in self._values and size_bytes <= self.max_bytes:
                self._values[key] = (value, size_bytes)
                self.size_bytes += size_bytes
                while self.size_bytes > self.max_bytes:
                    _, (_, freed) = self._values.popitem(last=False)
                    self.size_bytes -= freed
        return value

    def __len__(self) -> int:
        return len(self._values)

    def _held(self) -> threading.Lock:
        # A thread of the parent may have held the lock at the fork; it cannot release it here.
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock
