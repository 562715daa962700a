"""How training items are changed. Light: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

from avsep.validation import check_at_least, check_range, check_share


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training items are changed; all zero and false leaves them as they are.

    Attributes:
        crop: cut 88x88 pixels at a random position instead of the centre.
        flip: probability of a mirror image.
        light: how much the light may change: grey values are raised to a power between exp(-light)
            and exp(light), which turns pale skin into dark and back; teeth stay bright.
        shape: how much the proportions of the face may change, as a share, e.g. 0.1: width, height
            and depth each by up to so much; for landmarks also the position of each in the face
            (by a standard deviation of 10 pixels times the share) and how far it moves (by up to
            twice the share). A face then says less about whose voice it is.
        visual: probability that the video of an item is damaged: its kind (mouth covered, low
            resolution, frozen, dropped frames, black, late, early) and its severity are drawn, see
            `avsep.visual_damage`.
        sound: probability that the sound of a mixture is damaged: its kind (reverberant, babble,
            noise, quiet, one voice weaker) and its severity are drawn, see `avsep.sound_damage`;
            with no other speakers there is noise instead of babble.
        shift_frames: largest shift of the landmarks against the sound, in frames.
        noise_px: standard deviation of noise on each landmark coordinate, in pixels of the
            analysis frame.
        level_db: largest change of the level of the whole mixture, up or down.
        eq_db: largest rise or fall of each voice's spectrum, at a few points between which it is
            smooth; stands for other vocal tracts and microphones.
        formants: largest change of the length of each voice's vocal tract, as a share, e.g. 0.15;
            see `avsep.loading.formants`.
        speed: largest change of the speed of each voice with its video, as a share, e.g. 0.2; see
            `avsep.loading.speed`.
    """

    crop: bool = False
    flip: float = 0.0
    light: float = 0.0
    shape: float = 0.0
    visual: float = 0.0
    sound: float = 0.0
    shift_frames: int = 0
    noise_px: float = 0.0
    level_db: float = 0.0
    eq_db: float = 0.0
    formants: float = 0.0
    speed: float = 0.0

    def __post_init__(self) -> None:
        check_share(self, "flip", "visual", "sound")
        check_at_least(self, 0, "light", "shift_frames", "noise_px", "level_db", "eq_db")
        check_range(self, 0, 0.5, "shape", "formants", "speed")

    @property
    def changes_lips(self) -> bool:
        """Whether two visits to a clip may see different pictures."""
        return self.crop or any(v > 0 for v in (self.flip, self.light, self.shape, self.visual))
