"""Random numbers that depend on a name alone: the same on every machine, in every version."""

from __future__ import annotations

import hashlib
from itertools import count

_BITS = 53  # a float64 holds so many without rounding


class HashRandom:
    """An endless stream of uniform numbers that a name determines.

    numpy guarantees the streams of its generators within one version only. Mixtures that are drawn
    today must be the same in years, so the numbers come from BLAKE2b digests of the name and a
    counter.
    """

    def __init__(self, *name: str | int) -> None:
        self._name = "/".join(str(part) for part in name).encode("utf-8")
        self._block = count()
        self._left: list[float] = []

    def uniform(self) -> float:
        """The next number, uniform in [0, 1)."""
        if not self._left:
            block = self._name + b"#" + str(next(self._block)).encode("ascii")
            digest = hashlib.blake2b(block, digest_size=64).digest()
            self._left = [
                (int.from_bytes(digest[at : at + 8], "little") >> (64 - _BITS)) / 2**_BITS
                for at in range(56, -1, -8)
            ]
        return self._left.pop()

    def below(self, number: int) -> int:
        """The next number as an integer, uniform in 0 to number - 1."""
        return int(self.uniform() * number)
