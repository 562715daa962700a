import pytest

from avsep.corpora.annotation_file import parse_annotation
from avsep.errors import ItemError, Reason
from tests.support.miniature import vox2_annotation


def parse(text: str):
    return parse_annotation(text.encode(), "x")


def test_the_header_of_voxceleb2_becomes_scores_and_its_rows_boxes():
    file = parse(
        vox2_annotation("id00012", "-4WQ2xQlAbc", first=250, count=50, offset=-2, asd=3.25)
    )
    assert file.video == "-4WQ2xQlAbc"
    assert file.scores == {"av_offset": -2.0, "fv_conf": 17.812, "asd_conf": 3.25}
    assert (file.boxes.first_frame, len(file.boxes.rows)) == (250, 50)
    assert not file.boxes.in_pixels
    assert file.boxes.aspect == pytest.approx(16 / 9, abs=0.01)


def test_boxes_in_pixels_are_recognised_and_do_not_give_the_aspect_ratio():
    boxes = parse(vox2_annotation("id10001", "abcdefghijk", pixels=True)).boxes
    assert boxes.in_pixels
    assert boxes.aspect == 0.0


def test_a_gap_in_the_frames_is_rejected_and_located():
    with pytest.raises(ItemError, match="frame 121 follows frame 115; there is a gap") as caught:
        parse(vox2_annotation("id00012", "abcdefghijk", gap=True))
    assert caught.value.reason is Reason.BAD_ANNOTATION


def test_all_three_blocks_of_lrs3_are_read():
    file = parse(
        "Text:  THANK YOU\nConf:  5\nRef:  0Fi83BHQsMA\n\nFRAME X Y W H\n"
        "000050 0.4 0.1 0.2 0.35\n000051 0.4 0.1 0.2 0.35\n\n"
        "WORD START END ASDSCORE\nTHANK 0.00 0.30 5.1\nYOU 0.30 0.61 5.3\n"
    )
    assert (file.text, file.video, file.scores) == ("THANK YOU", "0Fi83BHQsMA", {"text_conf": 5.0})
    assert file.boxes.first_frame == 50
    assert file.words == (("THANK", 0.0, 0.3, 5.1), ("YOU", 0.3, 0.61, 5.3))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "header is missing"),
        ("\x00\x01 nothing", "neither a header nor a row"),
        ("Conf: many\n", "conf is 'many', which is not a finite number"),
        ("Text: A\n\nFRAME X Y W H\n000001 0.1 0.1 0.2\n", "4 cells"),
        (
            "Text: A\n\nFRAME X Y W H\n000001 0.1 0.1 0.0 0.2\n",
            "not have a box with a positive size",
        ),
        (
            "Text: A\n\nFRAME X Y W H\n000001 0.1 nan 0.1 0.2\n",
            "not have a box with a positive size",
        ),
        ("Text: A\n\nWORD START END ASDSCORE\nA 0.5 0.2 1\n", "lasts from 0.5 to 0.2 s"),
    ],
)
def test_a_wrong_line_is_named(text, sentence):
    with pytest.raises(ItemError, match=sentence):
        parse(text)


def test_a_file_that_is_not_text_or_too_large_is_refused():
    for content in (b"\xff\xfe\x00Text", b"A: 1\n" * 2_000_000):
        with pytest.raises(ItemError) as caught:
            parse_annotation(content, "x")
        assert caught.value.reason is Reason.BAD_ANNOTATION


def test_a_transcript_keeps_its_odd_spaces_and_line_breaks():
    file = parse(
        "Text: A\u2028B\x85C\u00a0D\x0cE\r\nConf: 5\r\n\r\nWORD START END ASDSCORE\r\n"
        "A\u2028B 0.1 0.2 5\r\nC\u00a0D 0.2 0.3 5\r\n"
    )
    assert file.text == "A\u2028B\x85C\u00a0D\x0cE"
    assert [word for word, *_ in file.words] == ["A\u2028B", "C\u00a0D"]


@pytest.mark.parametrize("value", ["1e400", "-1E999", "nan", "inf", "high"])
def test_a_score_that_is_not_a_finite_number_is_refused(value):
    with pytest.raises(ItemError, match="not a finite number"):
        parse_annotation(f"Conf: {value}\n".encode(), "x.txt")
