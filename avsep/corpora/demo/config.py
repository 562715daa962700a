"""Settings of the demo corpus: how many clips, and which speakers are in which split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from avsep.corpora.demo.voices import CLIPS_PER_VOICE, NUM_SPEAKERS


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of the demo corpus.

    The default splits keep the base voice `kokoro-jf_nezumi` (speakers 2 and 14) wholly in test; no
    other speaker's blend has any of it. All six others, and with them each of the three programmes
    that spoke, are heard in training. Both genders are in each split, and in test two voices of
    each.

    Attributes:
        clips_per_speaker: of 3 s each, 1 to 24.
        heldout_clips_per_speaker: the same for speakers of val and test, which need fewer; 0 for as
            many as in training.
        train: numbers of the speakers (0 to 15) in the training split.
        val: likewise for validation.
        test: likewise for the test.
    """

    clips_per_speaker: int = 12
    heldout_clips_per_speaker: int = 0
    train: tuple[int, ...] = (0, 1, 3, 4, 6, 8, 9, 10, 13, 15)
    val: tuple[int, ...] = (7, 12)
    test: tuple[int, ...] = (2, 5, 11, 14)

    def __post_init__(self) -> None:
        if not 1 <= self.clips_per_speaker <= CLIPS_PER_VOICE:
            raise ValueError(
                f"clips_per_speaker is {self.clips_per_speaker}; each voice has 1 to"
                f" {CLIPS_PER_VOICE} clips."
            )
        if not 0 <= self.heldout_clips_per_speaker <= CLIPS_PER_VOICE:
            raise ValueError(
                f"heldout_clips_per_speaker is {self.heldout_clips_per_speaker}; each voice has 1"
                f" to {CLIPS_PER_VOICE} clips, and 0 takes as many as in training."
            )
        speakers = [speaker for speaker, _ in self.speakers()]
        if not speakers:
            raise ValueError("train, val and test are all empty; name at least one speaker.")
        if twice := sorted({s for s in speakers if speakers.count(s) > 1}):
            raise ValueError(f"speaker(s) {twice} stand in more than one place of the splits.")
        if wrong := [s for s in speakers if not 0 <= s < NUM_SPEAKERS]:
            raise ValueError(f"there is no speaker {wrong}; they are 0 to {NUM_SPEAKERS - 1}.")

    def num_clips(self, split: str) -> int:
        """Clips of each speaker of a split."""
        held_out = split != "train" and self.heldout_clips_per_speaker
        return self.heldout_clips_per_speaker if held_out else self.clips_per_speaker

    def speakers(self) -> Iterator[tuple[int, str]]:
        """Each speaker with its split."""
        for split in ("train", "val", "test"):
            for speaker in getattr(self, split):
                yield speaker, split
