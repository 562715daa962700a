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


class StretchSampler(EpochSampler):
    """Batches of item numbers of a set that several machines read in sequence.

    An epoch of the set is cut into stretches of equal length, and every step takes an equal part of
    its items from each. Give each machine a stretch: its ranks, one after the other, then take
    their items from that one alone, and the machine reads only the shards of it. Which items a step
    has depends on neither the ranks nor the loading processes. The few items at the end of a
    stretch that do not fill a step are left out.
    """

    def __init__(
        self,
        *,
        items: int,
        items_per_epoch: int,
        stretches: int,
        steps: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        """Prepare epochs.

        Args:
            items: of each step; a multiple of the number of ranks and of the stretches.
            items_per_epoch: number of items in an epoch of the set, an even number if the items
                are paired.
            stretches: into how many parts an epoch is cut.
            steps: after how many steps iterating ends; 0 for an epoch of the set.
            rank: this one.
            num_ranks: number of ranks.
            position: gives the steps that have been done when an epoch begins.

        Raises:
            ValueError: as for `EpochSampler`; the stretches cannot share the items equally; or an
                epoch has fewer items than a step.
        """
        if stretches < 1 or items % stretches:
            raise ValueError(f"{stretches} stretches cannot share {items} items equally.")
        self._each, self._in_epoch = items // stretches, items_per_epoch
        self.steps_per_epoch = items_per_epoch // max(1, items)
        if not self.steps_per_epoch:
            raise ValueError(f"an epoch has {items_per_epoch} items, fewer than a step ({items}).")
        super().__init__(
            items=items,
            steps=steps or self.steps_per_epoch,
            rank=rank,
            num_ranks=num_ranks,
            position=position,
        )

    def items_of(self, step: int, rank: int) -> list[int]:
        """The numbers of the items of a step on a rank."""
        epoch, place = divmod(step, self.steps_per_epoch)
        length = self.steps_per_epoch * self._each
        numbers = []
        for part in super().items_of(0, rank):  # the places of the rank's items in a step
            stretch, number = divmod(part, self._each)
            numbers.append(epoch * self._in_epoch + stretch * length + place * self._each + number)
        return numbers


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
