"""Settings of the demo corpus: how many clips, and which speakers are in which split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from avsep.corpora.demo.voices import CLIPS_PER_VOICE, NUM_SPEAKERS
from avsep.schema import SPLITS
from avsep.validation import check_range


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of the demo corpus.

    By default all speakers with the base voice `kokoro-jf_nezumi` (2 and 14) are in the test split,
    and no other voice contains a share of it. The other six base voices, and with them all three
    speech engines, appear in training. Both genders are in each split, and test has two base voices
    of each.

    Attributes:
        clips_per_speaker: clips of 3 s per speaker of the training split, 1 to 24.
        heldout_clips_per_speaker: clips per speaker of the other splits, which need fewer; 0 for
            as many as in training.
        train: numbers (0 to 15) of the speakers in the training split.
        val: numbers of the speakers in the validation split.
        test: numbers of the speakers in the test split.
    """

    clips_per_speaker: int = 12
    heldout_clips_per_speaker: int = 0
    train: tuple[int, ...] = (0, 1, 3, 4, 6, 8, 9, 10, 13, 15)
    val: tuple[int, ...] = (7, 12)
    test: tuple[int, ...] = (2, 5, 11, 14)

    def __post_init__(self) -> None:
        check_range(self, 1, CLIPS_PER_VOICE, "clips_per_speaker")
        check_range(self, 0, CLIPS_PER_VOICE, "heldout_clips_per_speaker")
        speakers = [speaker for speaker, _ in self.speakers()]
        if not speakers:
            raise ValueError("train, val and test are all empty; name at least one speaker.")
        if twice := sorted({s for s in speakers if speakers.count(s) > 1}):
            raise ValueError(f"speaker(s) {twice} appear more than once in train, val and test.")
        if wrong := [s for s in speakers if not 0 <= s < NUM_SPEAKERS]:
            raise ValueError(
                f"speaker(s) {wrong} do not exist; they are numbered 0 to {NUM_SPEAKERS - 1}."
            )

    def num_clips(self, split: str) -> int:
        """Number of clips per speaker of a split."""
        held_out = split != "train" and self.heldout_clips_per_speaker
        return self.heldout_clips_per_speaker if held_out else self.clips_per_speaker

    def speakers(self) -> Iterator[tuple[int, str]]:
        """Each speaker with its split."""
        for split in SPLITS:
            for speaker in getattr(self, split):
                yield speaker, split
