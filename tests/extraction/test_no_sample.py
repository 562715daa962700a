"""Why a clip gives no sample."""

import pytest

from avsep.errors import Reason
from avsep.extraction.clip import no_sample
from avsep.faces.tracking import Tracks

TOO_SHORT = "a face is seen for 12 of 100 frames in a row; 25 are needed."


@pytest.mark.parametrize(
    ("spans", "reason", "sentence"),
    [
        ([], Reason.NO_FACE, "none of the 100 frames shows a face."),
        (
            [(3, 15)],
            Reason.FACE_TOO_SHORT,
            "a face is seen for 12 of 100 frames in a row; 25 are needed.",
        ),
        (
            [(0, 12), (40, 52)],
            Reason.FACE_TOO_SHORT,
            "a face is seen for 12 of 100 frames in a row; 25 are needed.",
        ),
        (
            [(0, 14), (40, 60)],
            Reason.FACE_MOSTLY_MISSING,
            "a face is lost repeatedly: 34 of 100 frames show one, but at most 20 in a row;"
            " 25 are needed.",
        ),
    ],
)
def test_a_clip_without_a_sample_says_why(spans, reason, sentence):
    error = no_sample(Tracks(spans=spans, num_frames=100), needed=25)
    assert error.reason is reason
    assert error.message == sentence
