"""Why a clip may contain more than one voice."""

import numpy as np

from avsep.extraction.multi_voice import AT_ONCE, IN_TURN, WITHOUT_FACE, voice_doubts


class TestVoices:
    SPEECH = (np.random.default_rng(0).normal(size=640 * 100) * 3000).astype(np.int16)

    def test_one_face_with_all_the_sound_raises_no_doubt(self):
        assert voice_doubts([(0, 100)], 0, self.SPEECH) == []
        assert voice_doubts([(5, 96)], 3, self.SPEECH) == []

    def test_faces_at_once_and_in_turn_are_told_apart(self):
        assert voice_doubts([(0, 100), (40, 80)], 40, self.SPEECH) == [AT_ONCE]
        assert voice_doubts([(0, 50), (50, 100)], 0, self.SPEECH) == [IN_TURN]
        assert voice_doubts([(0, 100)], 20, self.SPEECH) == [AT_ONCE]

    def test_a_voice_without_a_face_is_doubtful_but_silence_is_not(self):
        assert voice_doubts([(0, 80)], 0, self.SPEECH) == [WITHOUT_FACE]
        quiet_end = np.concatenate([self.SPEECH[: 640 * 80], self.SPEECH[640 * 80 :] // 3000])
        assert voice_doubts([(0, 80)], 0, quiet_end) == []
        assert voice_doubts([(0, 80)], 0, np.zeros_like(self.SPEECH)) == []
