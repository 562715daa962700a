"""Training mixtures of a set that is read in sequence: from a folder, a web server or a bucket.

An epoch reads every shard of the set once, in an order drawn for it. A few shards at a time are the
shuffle buffer that mixtures are drawn from, with voices of different speakers and groups, by the
protocol of the set. As everywhere, an item is a pure function of its number.

    store = StreamStore("https://example.org/shards")
    draw = StreamDraw(store, read_training_list(Path("train.parquet")), shards=4)
    data = TrainMixtures(store, draw, seed=0, cues=("lips",))
    order = EpochSampler(items=32, steps=1000, position=lambda: steps_done)
    loader = DataLoader(data, batch_sampler=order, collate_fn=collate, num_workers=8)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsep.errors import CheckError
from avsep.files import sha256_text
from avsep.mixing.published_protocols import find_protocol
from avsep.mixing.training import TrainingList
from avsep.mixing.voice_columns import Voices
from avsep.mixing.voices import VoiceTable, can_be_paired
from avsep.schema import MixtureRecipe
from avsep.shards.stream_store import StreamStore


@dataclass(frozen=True)
class _Epoch:
    """The order of an epoch: the shards of each buffer, and the number of its first mixture."""

    number: int
    buffers: list[list[int]]
    firsts: NDArray[np.int64]


class StreamDraw:
    """Draws training mixtures from a few shards at a time, as a pure function of a number.

    Ask for numbers in about their order: others are right too, but read shards again and again.

    Attributes:
        per_epoch: number of mixtures in an epoch: half the number of voices.
    """

    def __init__(
        self,
        store: StreamStore,
        listed: TrainingList,
        *,
        shards: int = 2,
        num_samples: int | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            store: the set.
            listed: voices and protocol, the content of the `train.parquet` that was made from the
                set, see `avsep.mixing.training.read_training_list`.
            shards: number of shards in the shuffle buffer; twice as many are kept.
            num_samples: length of a mixture at 16 kHz; the list's length when None.

        Raises:
            CheckError: the list is not one of this set, or no two of its voices may be mixed.
            ValueError: `shards` is below 1.
        """
        import pyarrow as pa

        if shards < 1:
            raise ValueError(f"shards is {shards}; a shuffle buffer has at least 1.")
        self._store, self._shards = store, shards
        self._seed = listed.seed
        self._protocol = find_protocol(listed.protocol, listed.version)
        self._voices = Voices.of(listed.voices)
        self._window = num_samples or listed.num_samples, listed.min_activity
        of_shard = _shards_of(store, self._voices)
        self._names = store.index.codes("shard")[1]
        table = VoiceTable(self._voices, *self._window)  # checks the length
        rows = table.rows[np.argsort(of_shard[table.rows], kind="stable")]
        self._rows, counts = rows, np.bincount(of_shard[rows], minlength=len(self._names))
        self._ends = np.cumsum(counts)
        self._mixtures = (counts + 1) // 2
        self._used = np.flatnonzero(counts).tolist()  # the others have nothing to give
        self.per_epoch = int(self._mixtures.sum())
        self._kinds = [_kinds(self._voices, self._rows_of(shard)) for shard in self._used]
        if not table.has_pairs:
            raise CheckError(
                f"{store.name} gives no mixture of {self._window[0]} samples: no two of its voices"
                " for training differ in speaker and group; add speakers, or choose shorter"
                " mixtures."
            )
        pa.default_memory_pool().release_unused()  # what the comparison with the index took
        self._epoch = self._ordered(0)
        self._table: tuple[tuple[int, int], VoiceTable | None] = (-1, -1), None

    def __call__(self, number: int) -> MixtureRecipe:
        """The recipe of a number.

        Raises:
            CheckError: the voices of the buffer do not suffice for the protocol.
        """
        epoch, index = divmod(number, self.per_epoch)
        if epoch != self._epoch.number:
            self._epoch = self._ordered(epoch)
        buffer = int(np.searchsorted(self._epoch.firsts, index, "right")) - 1
        self._announce(buffer, index)
        try:
            return self._protocol.training(
                self._table_of(buffer),
                self._store.audio,
                seed=self._seed,
                epoch=epoch,
                index=index,
            )
        except ValueError as error:
            names = ", ".join(self._names_of(buffer))
            raise CheckError(
                f"{names} of {self._store.name}: {error} Or put more shards into the buffer."
            ) from error

    def _announce(self, buffer: int, index: int) -> None:
        """Let the shards of a buffer be read, and in its second half those of the next one."""
        wanted = self._names_of(buffer)
        if buffer + 1 < len(self._epoch.buffers):
            first, following = self._epoch.firsts[buffer : buffer + 2]
            if 2 * index >= first + following:
                wanted += self._names_of(buffer + 1)
        self._store.prefetch(wanted)

    def _ordered(self, number: int) -> _Epoch:
        """The order of an epoch. A buffer that gives no pair is joined with its neighbour."""
        order = sorted(
            range(len(self._used)),
            key=lambda place: sha256_text(
                f"{self._seed}/{number}/{self._names[self._used[place]]}"
            ),
        )
        parts: list[list[int]] = []
        part: list[int] = []
        for place in order:
            part.append(place)
            if len(part) >= self._shards and self._pairs(part):
                parts.append(part)
                part = []
        if part and parts and not self._pairs(part):
            parts[-1] += part
        elif part:
            parts.append(part)
        buffers = [[self._used[place] for place in part] for part in parts]
        counts = [int(self._mixtures[buffer].sum()) for buffer in buffers]
        return _Epoch(number, buffers, np.cumsum([0, *counts[:-1]]))

    def _pairs(self, places: list[int]) -> bool:
        kinds = np.unique(np.concatenate([self._kinds[place] for place in places]), axis=0)
        return can_be_paired({(one, other) for one, other in kinds.tolist()})

    def _table_of(self, buffer: int) -> VoiceTable:
        wanted = self._epoch.number, buffer
        known, table = self._table
        if table is None or known != wanted:
            rows = np.sort(
                np.concatenate([self._rows_of(shard) for shard in self._epoch.buffers[buffer]])
            )
            table = VoiceTable(Voices(self._voices.table(rows)), *self._window)
            self._table = wanted, table
        return table

    def _rows_of(self, shard: int) -> NDArray[np.int32]:
        first = self._ends[shard - 1] if shard else 0
        return self._rows[first : self._ends[shard]]

    def _names_of(self, buffer: int) -> list[str]:
        return [self._names[shard] for shard in self._epoch.buffers[buffer]]


def _kinds(voices: Voices, rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """The different (speaker, group) of some voices, as codes, (kinds, 2)."""
    codes = [voices.codes(name)[0][rows] for name in ("speaker", "group")]
    return np.unique(np.stack(codes, axis=1), axis=0)


def _shards_of(store: StreamStore, voices: Voices) -> NDArray[np.int32]:
    """The codes of the shards that hold voices, (voices,).

    Raises:
        CheckError: the set lacks a voice, or has another sound for it.
    """
    import pyarrow.compute as pc

    index = store.index
    rows = pc.index_in(voices.texts("key"), index.texts("key"))
    same = pc.equal(index.texts("audio_sha256").take(rows), voices.texts("sha256"))
    same = pc.fill_null(same, False).to_numpy(zero_copy_only=False)
    if not same.all():
        key = voices.texts("key")[int(np.argmin(same))]
        raise CheckError(
            f"{store.name} lacks the sample {key}, or has another sound for it: the list of voices"
            " is of another set; take the train.parquet that was made from this one."
        )
    return index.codes("shard")[0][rows.to_numpy()]
