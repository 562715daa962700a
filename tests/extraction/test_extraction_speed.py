"""While clips are extracted, a line says how fast, and where the time goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsep.extraction import speed as speed_module
from avsep.extraction.speed import ExtractionSpeed


class Clock:
    """A clock that a test turns on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(speed_module.time, "monotonic", clock)
    return clock


def test_the_rate_is_that_of_the_last_minute_and_shares_are_of_all_processes(
    clock: Clock,
) -> None:
    speed = ExtractionSpeed()
    assert speed.text() == ""
    for _ in range(10):  # two processes, one clip of 100 frames per second
        clock.now += 1
        speed.add(100, 2.0, {"landmark": 1.2, "decode": 0.5})
    assert speed.text() == "100 frames/s: landmark 60 %, decode 25 %"
    assert speed.text(0.834).endswith(", engine busy 83 %")
    for _ in range(80):  # slower from now on
        clock.now += 2
        speed.add(100, 4.0, {"landmark": 3.4, "decode": 0.5})
    assert speed.text().startswith("50 frames/s: landmark 84 %")


@pytest.mark.parametrize("clips", [1, 2])
def test_nothing_is_said_of_the_first_moment(clock: Clock, clips: int) -> None:
    speed = ExtractionSpeed()
    for _ in range(clips):
        clock.now += 0.5
        speed.add(75, 0.5, {})
    assert speed.text() == ""
    clock.now += 2
    assert "frames/s" in speed.text()


def test_an_engine_says_how_busy_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from avsep.faces.engine import use as use_module
    from avsep.faces.engine.use import UseMeter, engine_use

    clock = Clock()
    monkeypatch.setattr(use_module.time, "monotonic", clock)
    folders = [tmp_path / "one", tmp_path / "two"]
    addresses = [str(folder / "engine") for folder in folders]
    assert engine_use(addresses) is None
    for folder, busy in zip(folders, (1.5, 0.5), strict=True):
        folder.mkdir()
        meter = UseMeter(folder)
        with meter.busy():
            clock.now += busy
        meter.write()
        assert engine_use(addresses[:1]) is None or folder is folders[1]
        clock.now += 2.0 * use_module.EVERY_S - busy
        meter.write()
    assert engine_use(addresses) == pytest.approx((1.5 + 0.5) / 2 / 4, abs=1e-3)
    (folders[0] / use_module.USE).write_text("damaged")
    assert engine_use(addresses) == pytest.approx(0.125)
    assert engine_use(()) is None
