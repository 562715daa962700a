"""How the steps of a separation tell how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
Steps = Callable[[str, int], AbstractContextManager[Advance]]
"""Called with the title and the total of a step; yields what takes the number done anew."""


@contextmanager
def silent(title: str, total: int) -> Iterator[Advance]:
    """Tell nobody."""
    yield lambda _count: None
