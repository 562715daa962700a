"""Decode sound at 16 kHz and pictures at 25 per second, both by presentation time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.media.container import MAX_DURATION_S, PacketCount, decode_packet, frame_time_s
from avsep.media.geometry import geometry, native_size
from avsep.media.mono import mix_to_mono, single_channel
from avsep.media.pictures import Converter, DecodedPicture
from avsep.media.steady import JITTER_S, steadied
from avsep.media.streams import open_audio, open_video
from avsep.schema import FPS, RATE_HZ

if TYPE_CHECKING:
    from av.packet import Packet

# Sound is also read beyond both ends of the span, so that the resampling filter starts and ends on
# real sound. A whole second is a whole number of samples at any rate.
_MARGIN_S = 1
# A picture exactly half way between two of ours (at 50 per second) belongs to the later one.
_TIE_S = 0.001
# So long a damaged picture is replaced by the one before it; longer, and lips would stand still.
_LONGEST_HOLD_S = 0.2


def read_audio(path: Path, start_s: float, num_samples: int) -> np.ndarray:
    """Read a span of sound as mono at 16 kHz; sample n is at `start_s` + n / 16000 s.

    Args:
        path: path of a media file.
        start_s: start of the span, in seconds.
        num_samples: length of the span, in samples at 16 kHz.

    Returns:
        (num_samples,) int16; zeros where the file has no sound.

    Raises:
        ItemError: the file cannot be opened, has no sound, or too much of it cannot be decoded.
    """
    _check_span(start_s, num_samples / RATE_HZ)
    origin_s = start_s - _MARGIN_S
    total_s = num_samples / RATE_HZ + 2 * _MARGIN_S
    rate_hz, buffer = RATE_HZ, np.zeros(0, np.float32)
    position = 0
    count = PacketCount()
    for time_s, rate_hz, block in steadied(_sound_blocks(path, count)):
        if not len(buffer):
            buffer = np.zeros(round(total_s * rate_hz), np.float32)
            position = round((time_s - origin_s) * rate_hz)
        wanted = (time_s - origin_s) * rate_hz
        if abs(wanted - position) > JITTER_S * rate_hz:
            position = round(wanted)
        _place(buffer, position, block)
        position += len(block)
        if position >= len(buffer):
            break
    count.check("sound")
    resampled = _resample(buffer, rate_hz)
    first = _MARGIN_S * RATE_HZ
    span = np.zeros(num_samples, np.float32)
    found = resampled[first : first + num_samples]
    span[: len(found)] = found
    return _as_int16(span)


def stream_audio(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Read all of the sound as mono at 16 kHz, block by block, in constant memory.

    Gaps in the time stamps are filled with silence, so that the blocks simply follow each other.

    Yields:
        The time of the first sample of the file in seconds (the same with each block), and
        (n,) int16. All blocks together have round(16000 d) samples, where d is the length of the
        sound in seconds.

    Raises:
        ItemError: the file cannot be opened, has no sound or more than `MAX_DURATION_S` of it, or
            too much of it cannot be decoded (raised after the last block at the latest).
    """
    count = PacketCount()
    resampler: _StreamResampler | None = None
    first_s = 0.0
    position = 0  # number of source samples so far
    for time_s, rate_hz, block in steadied(_sound_blocks(path, count)):
        if resampler is None:
            first_s, resampler = time_s, _StreamResampler(rate_hz)
        wanted = (time_s - first_s) * rate_hz
        if wanted > MAX_DURATION_S * rate_hz:
            raise ItemError(
                Reason.TOO_LONG,
                f"its sound lasts more than {MAX_DURATION_S:.0f} s of presentation.",
            )
        apart = round(wanted) - position
        if abs(wanted - position) <= JITTER_S * rate_hz:
            apart = 0
        for start in range(0, apart, rate_hz):
            silence = np.zeros(min(rate_hz, apart - start), np.float32)
            yield first_s, resampler.push(silence)
        kept = block[max(0, -apart) :]  # an overlap is not repeated
        position += max(0, apart) + len(kept)
        yield first_s, resampler.push(kept)
    count.check("sound")
    if resampler is not None:
        yield first_s, resampler.finish()


def read_frames(path: Path, start_s: float, num_frames: int) -> Iterator[np.ndarray]:
    """`read_pictures` as arrays: yields (height, width, 3) uint8 RGB, `num_frames` times.

    A repeated picture is yielded as the same array: do not write to it.
    """
    for picture in read_pictures(path, start_s, num_frames):
        yield picture.rgb()


def read_pictures(path: Path, start_s: float, num_frames: int) -> Iterator[DecodedPicture]:
    """Read a span of pictures at 25 per second, upright and with square pixels, in one pass.

    Picture i is the one shown at `start_s` + i / 25: the latest whose time is at most half a frame
    later, so that a source with 25 pictures per second gives each of them once, whatever its
    offset. The first and last pictures are repeated beyond the ends of the video, and a missing or
    damaged picture is replaced by the one before it; where more than 0.2 s cannot be decoded, the
    pictures are grey. A repeated picture is yielded as the same object.

    Args:
        path: path of a media file.
        start_s: start of the span, in seconds.
        num_frames: number of pictures to read.

    Yields:
        Pictures of one size, `num_frames` times. Each is converted to RGB when that is asked for.

    Raises:
        ItemError: the file cannot be opened, has no video, or too much of it cannot be decoded
            (raised before the last picture is yielded at the latest).
    """
    _check_span(start_s, num_frames / FPS)
    if num_frames == 0:
        return
    count = PacketCount()
    produced = 0
    for until_s, picture in _shown_pictures(path, count):
        while start_s + (produced + 0.5) / FPS - _TIE_S < until_s:
            if produced == num_frames - 1:
                count.check("video")
            yield picture
            produced += 1
            if produced == num_frames:
                return


def _check_span(start_s: float, duration_s: float) -> None:
    if not 0 <= duration_s <= MAX_DURATION_S:
        raise ValueError(
            f"the span lasts {duration_s} s; it must last 0 to {MAX_DURATION_S:.0f} s."
        )
    if not np.isfinite(start_s):
        raise ValueError(f"the span starts at {start_s}; it must be a number of seconds.")


# --- sound -------------------------------------------------------------------------------------


def _sound_blocks(path: Path, count: PacketCount) -> Iterator[tuple[float, int, np.ndarray]]:
    """Decoded sound in order: time in seconds, rate in Hz, (samples,) float32 mono."""
    end_s: float | None = None
    first_rate_hz = 0
    held: tuple[float, int, np.ndarray] | None = None
    length: int | None = None  # of the sound in the last packet, in samples
    with open_audio(path) as track:
        only = single_channel(path)
        for packet, frame in track.frames(count):
            block = mix_to_mono(frame, only)
            stamp_s = frame_time_s(frame)
            time_s = (end_s or 0.0) if stamp_s is None else stamp_s
            rate_hz = frame.sample_rate
            first_rate_hz = first_rate_hz or rate_hz
            if rate_hz != first_rate_hz:
                raise ItemError(
                    Reason.UNDECODABLE,
                    f"the rate of its sound changes from {first_rate_hz} to {rate_hz} Hz.",
                )
            if held is not None:
                yield held
            held, length = (time_s, rate_hz, block), None
            if packet.time_base == Fraction(1, rate_hz) and packet.pts == frame.pts:
                length = packet.duration or None
            end_s = time_s + len(block) / rate_hz
    if held is not None:
        # The duration in an MP4 tells how much of the last packet is sound and not padding. Earlier
        # ones may be rounded (remuxed from a container of milliseconds) and mean nothing.
        time_s, rate_hz, block = held
        yield time_s, rate_hz, block[:length]
    else:
        count.check("sound")
        raise ItemError(Reason.NO_AUDIO, "its sound is empty.")


def _place(buffer: np.ndarray, position: int, block: np.ndarray) -> None:
    first, last = max(position, 0), min(position + len(block), len(buffer))
    if last > first:
        buffer[first:last] = block[first - position : last - position]


def _resample(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    if rate_hz == RATE_HZ or not len(samples):
        return samples
    import soxr

    return soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ")


class _StreamResampler:
    """Resamples blocks of sound at any rate to int16 at 16 kHz, without a delay."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._taken = self._given = 0
        self._soxr: Any = None
        if rate_hz != RATE_HZ:
            import soxr

            self._soxr = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")

    def push(self, block: np.ndarray) -> np.ndarray:
        self._taken += len(block)
        return self._give(block if self._soxr is None else self._soxr.resample_chunk(block))

    def finish(self) -> np.ndarray:
        """The rest; all blocks together have the length of the sound."""
        rest = np.zeros(0, np.float32)
        if self._soxr is not None:
            rest = self._soxr.resample_chunk(rest, last=True)
        missing = round(self._taken * RATE_HZ / self.rate_hz) - self._given
        rest = rest[:missing]
        return self._give(np.pad(rest, (0, missing - len(rest))))

    def _give(self, block: np.ndarray) -> np.ndarray:
        self._given += len(block)
        return _as_int16(block)


def _as_int16(samples: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # sound in floating point may be of any size; it is clipped
        return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


# --- pictures ----------------------------------------------------------------------------------


class _Awaited:
    """The times of pictures that packets announced and that have not been decoded yet."""

    def __init__(self) -> None:
        self._times_s: list[float] = []

    def announce(self, packet: Packet) -> None:
        if packet.pts is not None and packet.time_base and packet.size and not packet.is_discard:
            heapq.heappush(self._times_s, float(packet.pts * packet.time_base))

    def rest(self, last_s: float) -> tuple[float, float]:
        """When the first and the last of the pictures after the last decoded one were due."""
        late_s = [time_s for time_s in self._times_s if time_s > last_s]
        return min(late_s, default=last_s), max(late_s, default=last_s)

    def lost_before(self, time_s: float, last_s: float) -> float:
        """When the first picture between two decoded ones was due; `time_s` where none was."""
        first_s = time_s
        while self._times_s and self._times_s[0] <= time_s:
            due_s = heapq.heappop(self._times_s)
            if due_s > last_s:
                first_s = min(first_s, due_s)
        return first_s


def _shown_pictures(path: Path, count: PacketCount) -> Iterator[tuple[float, DecodedPicture]]:
    """The pictures in order, each with the time until which it is shown; the last one forever.

    Where several pictures in a row cannot be decoded, a blank one is shown.
    """
    converter: Converter | None = None
    held: DecodedPicture | None = None
    last_s = -np.inf
    awaited = _Awaited()
    with open_video(path) as track:
        stream = track.stream
        step_s = float(1 / stream.average_rate) if stream.average_rate else 1 / FPS
        for packet in track.packets():
            awaited.announce(packet)
            for frame in decode_packet(packet, count):
                stamp_s = frame_time_s(frame)
                if stamp_s is None:
                    stamp_s = last_s + step_s if held is not None else 0.0
                if stamp_s <= last_s:  # damaged stamps: time does not go back
                    continue
                lost_s = awaited.lost_before(stamp_s, last_s)
                if held is not None and converter is not None:
                    if stamp_s - lost_s > _LONGEST_HOLD_S:
                        yield lost_s, held
                        yield stamp_s, converter.blank()
                    else:
                        yield stamp_s, held
                if converter is None:
                    converter = Converter(geometry(stream, frame, track.found.largest))  # type: ignore[arg-type]
                native = native_size(stream, frame) if track.found.largest else None  # type: ignore[arg-type]
                held = converter.picture(frame, native)  # type: ignore[arg-type]
                last_s = stamp_s
        if held is None or converter is None:
            count.check("video")
            raise ItemError(Reason.UNDECODABLE, "none of its pictures can be decoded.")
        lost_s, end_s = awaited.rest(last_s)
        if end_s - lost_s > _LONGEST_HOLD_S:
            yield lost_s, held
            yield np.inf, converter.blank()
        yield np.inf, held
