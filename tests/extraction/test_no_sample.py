import pytest

from avsep.errors import Reason
from avsep.extraction.clip import no_sample


@pytest.mark.parametrize(
    ("spans", "reason", "sentence"),
    [
        ([], Reason.NO_FACE, "no face in 100 frames."),
        ([(3, 15)], Reason.FACE_TOO_SHORT, "a face stays for 12 of 100 frames, not 25."),
        ([(0, 12), (40, 52)], Reason.FACE_TOO_SHORT, "a face stays for 12 of 100 frames, not 25."),
        (
            [(0, 14), (40, 60)],
            Reason.FACE_MOSTLY_MISSING,
            "a face is lost again and again: 34 of 100 frames show one, but at most 20 on end;"
            " 25 are needed.",
        ),
    ],
)
def test_a_clip_without_a_sample_says_why(spans, reason, sentence):
    error = no_sample(spans, num_frames=100, needed=25)
    assert error.reason is reason
    assert error.message == sentence
