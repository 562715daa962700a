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


def test_how_the_work_goes_stands_below_the_bar_or_at_the_end_of_a_line(monkeypatch, capsys):
    monkeypatch.setattr("avsep.progress.LINE_EVERY_S", 0.0)
    with show_progress("extract", 4) as advance:
        advance(1)
        note(advance, "80 frames/s")
        advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "extract: 2 of 4, 0 s, 0 s left; 80 frames/s"
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with show_progress("extract", 4) as advance:
        advance(1)
        note(advance, "90 frames/s: decode [20 %]")
    assert "90 frames/s: decode [20 %]" in sys.stderr.getvalue()
    note(no_progress, "discarded")


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves: `clock[0]` is the time."""
    now = [100.0]
    monkeypatch.setattr("avsep.progress.time.monotonic", lambda: now[0])
    return now


def test_lines_say_the_time_left_and_only_when_an_item_has_ended(clock, capsys):
    with show_progress("extract", 9) as advance:
        for share, line in (
            (0.5, ""),
            (0.5, "extract: 1 of 9, 40 s, 5 min left\n"),  # 20 s for half an item
            (4.0, "extract: 5 of 9, 60 s, 36 s left\n"),
            (4.0, "extract: 9 of 9, 80 s\n"),
        ):
            clock[0] += 20
            advance(share)
            assert capsys.readouterr().err == line


def test_what_comes_before_the_first_item_is_not_taken_for_its_time(clock, capsys):
    with show_progress("evaluate dolphin", 61) as advance:
        clock[0] += 90  # imports, and the measurement of the cost
        advance(1)
        assert capsys.readouterr().err == "evaluate dolphin: 1 of 61, 90 s\n"
        clock[0] += 30
        advance(30)
        assert capsys.readouterr().err == "evaluate dolphin: 31 of 61, 2 min, 30 s left\n"


def test_lines_become_rarer_but_never_stop(clock, capsys):
    with show_progress("extract", 10**6) as advance:
        for _ in range(86400):
            clock[0] += 1
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert 300 < len(lines) < 600  # in a day; 5,760 at one per 15 s
    assert lines[0].startswith("extract: 15 of 1000000, 15 s")


def test_an_unknown_total_and_a_single_item(clock, capsys):
    with show_progress("bytes of x", 0) as download, show_progress("train vovit", 1) as training:
        clock[0] += 20
        download(5000)
        training(0.5)
        training(0.5)
    assert capsys.readouterr().err == "bytes of x: 5000, 20 s\n"


@pytest.mark.parametrize("term", ["dumb", "unknown", None])
def test_a_terminal_that_cannot_draw_over_its_lines_gets_lines(monkeypatch, clock, term):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    with show_progress("mix", 4) as advance:
        clock[0] += 20
        advance(2)
    assert sys.stderr.getvalue() == "mix: 2 of 4, 20 s\n"
