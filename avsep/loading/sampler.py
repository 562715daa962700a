"""The order of the items on each rank. Items are numbers; the data sets make items of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class EpochSampler:
    """Batches of item numbers for training: an endless row, cut into epochs of equal length.

    Step `s` takes the items from `s items` to `(s + 1) items`, and each rank an equal part of them
    in the order of the ranks: no item comes twice, whatever the number of ranks. Iterating gives
    the steps from the present position to the end of its epoch, so a run that stopped in the middle
    of an epoch goes on with the next item. It has no length: an epoch that is resumed is shorter.
    """

    def __init__(
        self,
        *,
        items: int,
        steps: int,
        rank: int = 0,
        num_ranks: int = 1,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        """Prepare epochs of `steps` steps of `items` items on all ranks together.

        Args:
            items: of each step; a multiple of the number of ranks.
            steps: of each epoch.
            rank: this one.
            num_ranks: number of ranks.
            position: gives the steps that have been done when an epoch begins.

        Raises:
            ValueError: a count below 1, items that the ranks cannot share equally, or a rank that
                does not exist.
        """
        if items < 1 or steps < 1:
            raise ValueError(f"items {items} and steps {steps} must be at least 1.")
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank {rank} is not one of {num_ranks} ranks.")
        if items % num_ranks:
            raise ValueError(f"{num_ranks} ranks cannot share {items} items equally.")
        self._items, self._steps = items, steps
        self._rank, self._num_ranks = rank, num_ranks
        self._position = position

    def __iter__(self) -> Iterator[list[int]]:
        first = self._position()
        for step in range(first, (first // self._steps + 1) * self._steps):
            yield self.items_of(step, self._rank)

    def items_of(self, step: int, rank: int) -> list[int]:
        """The numbers of the items of a step on a rank."""
        share = self._items // self._num_ranks
        first = step * self._items + rank * share
        return list(range(first, first + share))


class ListSampler:
    """Batches over a fixed list: all items, the last batch kept, equal counts on every rank.

    If the list does not divide by the ranks, some ranks take an item that another rank has too;
    results are kept by the item's number, so nothing counts twice.
    """

    def __init__(self, *, num_items: int, batch: int, rank: int = 0, num_ranks: int = 1) -> None:
        """Prepare the share of one rank.

        Raises:
            ValueError: an empty list.
        """
        if num_items < 1:
            raise ValueError("the list of mixtures is empty; run the stage `mix`.")
        share = -(-num_items // num_ranks)
        numbers = [(rank + i * num_ranks) % num_items for i in range(share)]
        self._batches = [numbers[i : i + batch] for i in range(0, share, batch)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)
