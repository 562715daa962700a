"""The voices of one split by speaker: the table that mixtures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

from avsep.mixing.voice import LEVEL_DIGITS, Voice, find_activity, window_starts
from avsep.mixing.voice_columns import Voices, read_voices, write_voices
from avsep.schema import SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T", int, str)

__all__ = [
    "LEVEL_DIGITS",
    "Voice",
    "VoiceTable",
    "Voices",
    "find_activity",
    "read_voices",
    "window_starts",
    "write_voices",
]


class VoiceTable:
    """The voices of one split by speaker, for windows of one length. Picklable.

    Attributes:
        num_samples: length of a window at 16 kHz.
        min_activity: least share of a window's frames with speech.
        speakers: ids of the speakers, sorted.
        rows: numbers of the given voices that have a window, by speaker and key, (voices,).
    """

    def __init__(self, voices: Sequence[Voice], num_samples: int, min_activity: float) -> None:
        """Sort the voices and leave out those without a window.

        Raises:
            ValueError: the length is not a whole number of frames, or the share not in 0..1.
        """
        if num_samples <= 0 or num_samples % SAMPLES_PER_FRAME:
            raise ValueError(
                f"num_samples is {num_samples}; it must be a multiple of {SAMPLES_PER_FRAME}."
            )
        if not 0 <= min_activity <= 1:
            raise ValueError(f"min_activity is {min_activity}; it must be in 0..1.")
        self.num_samples, self.min_activity = num_samples, min_activity
        self._all = Voices.of(voices)
        self.rows = self._usable_rows()
        codes, names = self._all.codes("speaker")
        firsts = np.flatnonzero(np.diff(codes[self.rows], prepend=-1))
        self.speakers = tuple(names[code] for code in codes[self.rows[firsts]])
        ends = [*firsts[1:].tolist(), len(self.rows)]
        spans = map(slice, firsts.tolist(), ends)
        self._spans = dict(zip(self.speakers, spans, strict=True))

    def _usable_rows(self) -> NDArray[np.int32]:
        """The rows of the voices with a window, by speaker and key."""
        import pyarrow.compute as pc

        table = self._all.table().select(["speaker", "key"])
        table = table.set_column(0, "speaker", table["speaker"].cast("string"))
        by = [("speaker", "ascending"), ("key", "ascending")]
        order = pc.sort_indices(table, by).to_numpy().astype(np.int32)
        usable: NDArray[np.int32] = order[
            self._all.have_window(self.num_frames, self.min_activity)[order]
        ]
        return usable

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_frames(self) -> int:
        """Length of a window in frames."""
        return self.num_samples // SAMPLES_PER_FRAME

    @property
    def voices(self) -> list[Voice]:
        """All voices, by speaker and key."""
        return [self._all[row] for row in self.rows.tolist()]

    def columns(self) -> Voices:
        """All voices, by speaker and key, as columns of their own."""
        return Voices(self._all.table(self.rows))

    def voices_of(self, speaker: str) -> Sequence[Voice]:
        """The voices of one speaker, made when they are asked for."""
        return _Some(self._all, self.rows[self._spans[speaker]])

    def starts(self, voice: Voice) -> np.ndarray:
        """The frames at which a window of this voice may start."""
        return window_starts(voice, self.num_frames, self.min_activity)

    @cached_property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """The speakers with their groups."""
        (codes, names), (groups, group_names) = (
            self._all.codes(name) for name in ("speaker", "group")
        )
        pairs = np.stack([codes[self.rows], groups[self.rows]], axis=1)
        return frozenset((names[s], group_names[g]) for s, g in np.unique(pairs, axis=0).tolist())

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Ids of the groups, sorted."""
        return tuple(sorted({group for _, group in self.kinds}))

    @property
    def gender_of(self) -> dict[str, str]:
        """The gender of each speaker: `f`, `m` or empty."""
        return {name: self.voices_of(name)[-1].gender for name in self.speakers}

    @property
    def total_frames(self) -> int:
        """Length of all voices together, in frames."""
        return int(self._all.num_frames[self.rows].sum(dtype=np.int64))

    @cached_property
    def has_pairs(self) -> bool:
        """Whether any two voices may be mixed: their speakers and their groups differ."""
        return can_be_paired(self.kinds)


def can_be_paired(kinds: Set[tuple[T, T]]) -> bool:
    """Whether two of these (speaker, group) differ in both."""
    if not kinds:
        return False
    speaker, group = min(kinds)
    same_speaker = any(s == speaker and g != group for s, g in kinds)
    same_group = any(s != speaker and g == group for s, g in kinds)
    # One voice of each kind differs from the other in both, though neither does from the first.
    return (same_speaker and same_group) or any(s != speaker and g != group for s, g in kinds)


class _Some(Sequence[Voice]):
    """Some of many voices."""

    def __init__(self, voices: Voices, rows: NDArray[np.int32]) -> None:
        self._voices, self._rows = voices, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> Voice: ...
    @overload
    def __getitem__(self, number: slice) -> list[Voice]: ...
    def __getitem__(self, number: int | slice) -> Voice | list[Voice]:
        if isinstance(number, slice):
            return [self._voices[row] for row in self._rows[number].tolist()]
        return self._voices[int(self._rows[number])]
