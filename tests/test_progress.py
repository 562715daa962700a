import io
import re
import sys

import pytest

from avsep.progress import duration, no_progress, note, show_progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3570, "1 h 0 min"), (7980, "2 h 13 min")],
)
def test_times_are_in_hours_and_minutes(seconds, text):
    assert duration(seconds) == text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_the_share_of_a_training_and_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("rich.progress.Progress.get_time", lambda _: now[0], raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("train dolphin", 1) as advance:
        for share in (0.5, 0.0025, 0.0025, 0.0025):  # resumed in the middle
            now[0] += 60
            advance(share)
    assert "train dolphin" in sys.stderr.getvalue()
    assert re.search(r"5[01] %", sys.stderr.getvalue())


def test_lines_say_the_time_left_and_only_when_an_item_has_ended(monkeypatch, capsys):
    monkeypatch.setattr("avsep.progress.LINE_EVERY_S", 0.0)
    with show_progress("extract", 4) as advance:
        advance(0.5)
        assert capsys.readouterr().err == ""
        advance(0.5)
        assert re.fullmatch(r"extract: 1 of 4, 0 s, 0 s left\n", capsys.readouterr().err)
        advance(3)
        assert capsys.readouterr().err == "extract: 4 of 4, 0 s\n"


def test_how_the_work_goes_stands_below_the_bar_or_at_the_end_of_a_line(monkeypatch, capsys):
    monkeypatch.setattr("avsep.progress.LINE_EVERY_S", 0.0)
    with show_progress("extract", 4) as advance:
        note(advance, "80 frames/s")
        advance(2)
    assert capsys.readouterr().err == "extract: 2 of 4, 0 s, 0 s left; 80 frames/s\n"
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("extract", 4) as advance:
        advance(1)
        note(advance, "90 frames/s: decode [20 %]")
    assert "90 frames/s: decode [20 %]" in sys.stderr.getvalue()
    note(no_progress, "discarded")
