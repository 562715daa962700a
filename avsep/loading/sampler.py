"""The order of the items on each rank. Items are numbers; the data sets make items of them."""

from __future__ import annotations

from collections.abc import Iterator


class EpochSampler:
    """Batches of item numbers for training: an endless row, cut into epochs of equal length.

    Step `s` of rank `r` out of `w` takes the items `(s w + r) batch ...`: no item comes twice, each
    rank takes the same number of steps, and the position is a function of the epoch alone, so a
    resumed run goes on where it stopped. It is its own `sampler`, since Lightning calls that one's
    `set_epoch`.

    Attributes:
        epoch: which epoch comes next; the first is 0.
    """

    def __init__(self, *, batch: int, steps: int, rank: int = 0, num_ranks: int = 1) -> None:
        """Prepare epochs of `steps` steps of `batch` items on each rank.

        Raises:
            ValueError: a count below 1, or a rank that does not exist.
        """
        if batch < 1 or steps < 1:
            raise ValueError(f"batch {batch} and steps {steps} must be at least 1.")
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank {rank} is not one of {num_ranks} ranks.")
        self._batch, self._steps = batch, steps
        self._rank, self._num_ranks = rank, num_ranks
        self.epoch = 0

    @property
    def sampler(self) -> EpochSampler:
        """Itself."""
        return self

    @property
    def batch_size(self) -> int:
        """Items per step on this rank."""
        return self._batch

    @property
    def drop_last(self) -> bool:
        """Never: every batch is full."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.epoch * self._steps, (self.epoch + 1) * self._steps):
            first = (step * self._num_ranks + self._rank) * self._batch
            yield list(range(first, first + self._batch))


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
