"""Find where the time stamps of a file start again, and join them into one time line.

Files that were cut together packet by packet, and recordings that were interrupted, have stamps
that go back or jump ahead. All streams of a part share one clock, so a part is moved as a whole:
sound and pictures keep their distance, as with FFmpeg's `ts_offset_discont`.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from avsep.errors import ItemError, Reason

if TYPE_CHECKING:
    from av.packet import Packet

BACK_S = 0.1  # stamps that go back less than this are jitter, not a new part
REORDERED_BACK_S = 1.0  # the same, where a stream only has presentation times
AHEAD_S = 1.0  # stamps that jump ahead less than this are a gap in one stream
LONGEST_GAP_S = 10.0  # a longer gap in all streams is closed, as FFmpeg does
LAG_S = 5.0  # how much of another stream may follow in the file before it also has its break
STRAY_S = 1.0  # a stream that goes astray for less than this, and comes back, has bad stamps there


@dataclass(eq=False)
class _Run:
    """Packets of one stream whose stamps follow each other.

    Attributes:
        ordinal: number of its first packet within the stream.
        place: number of its first packet within the file.
        jump_s: from where the packet was expected to where it is stamped.
        others_s: the newest stamp of each other stream when the run began.
        start_s: earliest presentation time.
        end_s: end of the latest packet.
        high_s: latest stamp so far.
    """

    ordinal: int
    place: int
    jump_s: float
    others_s: dict[int, float]
    start_s: float = math.inf
    end_s: float = -math.inf
    high_s: float = -math.inf


@dataclass
class StreamScan:
    """The runs of one stream, collected packet by packet."""

    index: int
    what: str
    runs: list[_Run] = field(default_factory=list)
    count: int = 0
    last_s: float = -math.inf
    _back_s: float = BACK_S
    _step_s: float = 0.0

    def add(self, packet: Packet, place: int, others: Sequence[StreamScan]) -> None:
        """Take the next packet of the stream; `place` is its number within the file."""
        ordinal = self.count
        self.count += 1
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None or packet.time_base is None:
            return
        if packet.is_discard:
            self._check_discarded(float(pts * packet.time_base))
            return
        if packet.dts is None:
            self._back_s = REORDERED_BACK_S
        time_s = float((pts if packet.dts is None else packet.dts) * packet.time_base)
        shown_s = float(pts * packet.time_base)
        # A picture that lasts for long may be a jump of the clock that the writer made of it.
        step_s = min(self._step_s, AHEAD_S) if self.what == "video" else self._step_s
        jump_s = time_s - (self.runs[-1].high_s + step_s) if self.runs else 0.0
        if not self.runs or time_s < self._latest_s() - self._back_s or jump_s > AHEAD_S:
            newest = {scan.index: scan.last_s for scan in others if scan.runs}
            self.runs.append(_Run(ordinal, place, jump_s, newest))
        self._step_s = float((packet.duration or 0) * packet.time_base)
        run = self.runs[-1]
        run.start_s = min(run.start_s, shown_s)
        run.end_s = max(run.end_s, shown_s + self._step_s)
        run.high_s = max(run.high_s, time_s)
        self.last_s = time_s

    def _latest_s(self) -> float:
        """Where the stream is: packets of sound may be long, durations of pictures are guesses."""
        return self.runs[-1].high_s + (self._step_s if self.what == "sound" else 0.0)

    def _check_discarded(self, time_s: float) -> None:
        """What an edit list leaves out lies around what is shown; a new part starts again."""
        if self.runs and time_s < self.runs[-1].high_s - REORDERED_BACK_S:
            raise ItemError(
                Reason.UNDECODABLE,
                f"the time stamps of its {self.what} start again at {self.runs[-1].high_s:.1f} s,"
                " and the file says that nothing after that is to be shown.",
            )

    def length_s(self, shifts: Shifts) -> float:
        """How long the stream lasts on the joined time line."""
        starts, ends = [], []
        for run in self.runs:
            shift_s = shifts.at(run.ordinal) or 0.0
            starts.append(run.start_s + shift_s)
            ends.append(run.end_s + shift_s)
        return max(ends) - min(starts)


@dataclass(frozen=True)
class Shifts:
    """What to add to the stamps of one stream, from certain packets on.

    Attributes:
        ordinals: numbers of the packets within the stream, increasing.
        shifts_s: seconds to add from each of them on; None where the stamps mean nothing.
    """

    ordinals: tuple[int, ...] = ()
    shifts_s: tuple[float | None, ...] = ()

    def at(self, ordinal: int) -> float | None:
        """Seconds to add to a packet's stamps; None where they mean nothing."""
        place = bisect.bisect_right(self.ordinals, ordinal) - 1
        return 0.0 if place < 0 else self.shifts_s[place]

    def apply(self, packet: Packet, ordinal: int) -> None:
        """Move the stamps of a packet."""
        shift_s = self.at(ordinal)
        if shift_s == 0 or packet.time_base is None:
            return
        if shift_s is None:
            packet.pts = packet.dts = None
            return
        ticks = round(shift_s / packet.time_base)
        if packet.pts is not None:
            packet.pts += ticks
        if packet.dts is not None:
            packet.dts += ticks


def join(scans: Sequence[StreamScan]) -> dict[int, Shifts]:
    """The shifts that make one time line of all parts, by the index of the stream.

    Raises:
        ItemError: the stamps of one stream break where those of the other go on, so that nothing
            tells which sound belongs to which picture.
    """
    scans = [scan for scan in scans if scan.runs]
    if all(len(scan.runs) == 1 for scan in scans):
        return {}
    strays = {scan.index: _take_strays(scan) for scan in scans}
    parts = _parts(scans)
    found: dict[int, dict[int, float | None]] = {scan.index: {} for scan in scans}
    shift_s = 0.0
    ends_s = {scan.index: scan.runs[0].end_s for scan in scans if scan.runs[0] in parts[0].values()}
    for part in parts[1:]:
        ahead_s = max(
            ends_s.get(index, max(ends_s.values())) - (run.start_s + shift_s)
            for index, run in part.items()
        )
        if ahead_s > 0 or ahead_s < -LONGEST_GAP_S:
            shift_s += ahead_s
        for index, run in part.items():
            found[index][run.ordinal] = shift_s
            ends_s[index] = run.end_s + shift_s
    for scan in scans:
        _add_strays(found[scan.index], strays[scan.index])
    return {
        index: Shifts(tuple(sorted(shifts)), tuple(shifts[key] for key in sorted(shifts)))
        for index, shifts in found.items()
        if any(shift_s != 0 for shift_s in shifts.values())
    }


def _take_strays(scan: StreamScan) -> list[tuple[int, int]]:
    """Remove short runs with stamps from nowhere, after which the stream goes on as before.

    Returns:
        The first packet of each and the packet after its last.
    """
    strays, kept = [], scan.runs[:1]
    runs = scan.runs[1:]
    while runs:
        run = runs.pop(0)
        after = runs[0] if runs else None
        before = kept[-1]
        if (
            after is not None
            and run.end_s - run.start_s < STRAY_S
            and abs(after.start_s - before.end_s) < STRAY_S
        ):
            strays.append((run.ordinal, after.ordinal))
            before.end_s, before.high_s = after.end_s, after.high_s
            runs.pop(0)
        else:
            kept.append(run)
    scan.runs = kept
    return strays


def _add_strays(shifts: dict[int, float | None], strays: list[tuple[int, int]]) -> None:
    for first, stop in strays:
        earlier = [ordinal for ordinal in shifts if ordinal <= first]
        shifts[stop] = shifts[max(earlier)] if earlier else 0.0
        shifts[first] = None


def _parts(scans: Sequence[StreamScan]) -> list[dict[int, _Run]]:
    """The parts of the file, each with the run of each stream that it has."""
    parts: list[dict[int, _Run]] = [{scan.index: scan.runs[0] for scan in scans}]
    breaks = [(run, scan) for scan in scans for run in scan.runs[1:]]
    breaks.sort(key=lambda pair: pair[0].place)
    while breaks:
        run, scan = breaks.pop(0)
        part = {scan.index: run}
        for other in scans:
            if other is scan:
                continue
            match = next((pair for pair in breaks if pair[1] is other), None)
            if match is not None and _belongs(run, match[0], other):
                part[other.index] = match[0]
                breaks.remove(match)
            elif _begins_with(run, scan, other):
                part[other.index] = parts[0].pop(other.index, other.runs[0])
            elif run.jump_s > 0 and _is_gap(run, run.others_s[other.index]):
                _merge(scan, run)
                part = {}
            elif not _ended_with(run, scan, other):
                raise ItemError(
                    Reason.UNDECODABLE,
                    f"the time stamps of its {scan.what} jump by {run.jump_s:+.1f} s at"
                    f" {run.start_s - run.jump_s:.1f} s, but those of its {other.what} do not; so"
                    " it is unknown which sound belongs to which picture.",
                )
        if part:
            parts.append(part)
    return parts


def _merge(scan: StreamScan, run: _Run) -> None:
    before = scan.runs[scan.runs.index(run) - 1]
    before.end_s, before.high_s = run.end_s, run.high_s
    scan.runs.remove(run)


def _belongs(run: _Run, later: _Run, other: StreamScan) -> bool:
    """Whether the break of another stream is the same one, a little later in the file."""
    before = next((a for a, b in itertools.pairwise(other.runs) if b is later), other.runs[0])
    return before.high_s - run.others_s.get(other.index, before.start_s) <= LAG_S


def _begins_with(run: _Run, scan: StreamScan, other: StreamScan) -> bool:
    """Whether there is nothing of another stream before this one broke."""
    first, before = other.runs[0], scan.runs[scan.runs.index(run) - 1]
    if first.place >= run.place:
        return True
    # A little of it may come first in the file.
    little = run.others_s[other.index] - first.start_s <= AHEAD_S
    return little and before.end_s - first.others_s.get(scan.index, -math.inf) <= AHEAD_S


def _ended_with(run: _Run, scan: StreamScan, other: StreamScan) -> bool:
    """Whether another stream was over when this one broke, so that the rest is without it."""
    before = scan.runs[scan.runs.index(run) - 1]
    last = other.runs[-1]
    # A little of it may follow in the file: FFmpeg holds back the last picture until the end.
    over = last.place < run.place and last.high_s - run.others_s[other.index] <= AHEAD_S
    return over and abs(last.end_s - before.end_s) <= AHEAD_S


def _is_gap(run: _Run, other_s: float) -> bool:
    """Whether only this stream paused: the other one has meanwhile come to the same time."""
    return abs(run.start_s - other_s) <= max(AHEAD_S, run.jump_s / 2)
