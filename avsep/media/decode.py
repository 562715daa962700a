"""Sound at 16 kHz and pictures at 25 a second, both placed by presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.media.container import (
    MAX_DURATION_S,
    Geometry,
    PacketCount,
    audio_stream,
    decode_packet,
    frame_time_s,
    geometry,
    open_local,
    packets,
    video_stream,
)
from avsep.schema import FPS, RATE_HZ

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

# Read beyond both ends of the span, so that the resampling filter starts and ends on real sound.
# A whole second is a whole number of samples at any rate.
_MARGIN_S = 1
# Time stamps of some containers are rounded to a millisecond: below this, samples simply follow
# each other; above it, the stamp is right and there is a gap or an overlap.
_JITTER_S = 0.010
# A picture stamped exactly half way between two of ours (50 a second) belongs to the later one.
_TIE_S = 0.001

# Weights of the channels of a layout in the mono sum, before they are made to add up to one.
_CHANNEL_WEIGHTS = {"FC": 1.0, "LFE": 0.0, "FL": 0.7071, "FR": 0.7071}
_OTHER_CHANNEL_WEIGHT = 0.5


def read_audio(path: Path, start_s: float, num_samples: int) -> np.ndarray:
    """Read a span of sound as mono at 16 kHz; sample n is what sounds at `start_s` + n / 16000.

    Returns:
        (num_samples,) int16; zeros where the file has no sound.

    Raises:
        ItemError: cannot be opened, no sound, or too much of it does not decode.
    """
    _check_span(start_s, num_samples / RATE_HZ)
    origin_s = start_s - _MARGIN_S
    total_s = num_samples / RATE_HZ + 2 * _MARGIN_S
    rate_hz, buffer = RATE_HZ, np.zeros(0, np.float32)
    position = 0
    count = PacketCount()
    for time_s, piece_rate_hz, piece in _sound_pieces(path, count):
        if not len(buffer):
            rate_hz = piece_rate_hz
            buffer = np.zeros(round(total_s * rate_hz), np.float32)
            position = round((time_s - origin_s) * rate_hz)
        elif piece_rate_hz != rate_hz:
            raise ItemError(
                Reason.UNDECODABLE,
                f"its sound changes from {rate_hz} to {piece_rate_hz} Hz on the way.",
            )
        wanted = (time_s - origin_s) * rate_hz
        if abs(wanted - position) > _JITTER_S * rate_hz:
            position = round(wanted)
        _place(buffer, position, piece)
        position += len(piece)
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
    """Read all of the sound as mono at 16 kHz, piece by piece, in memory that does not grow.

    Gaps in the time stamps are filled with silence, so that the pieces simply follow each other.

    Yields:
        The time of the very first sample in seconds (the same with each piece), and (n,) int16.
        All pieces together are round(16000 d) samples where d is the length of the sound.

    Raises:
        ItemError: cannot be opened, no sound, it is longer than `MAX_DURATION_S`, or too much of
            it does not decode (at the latest after the last piece).
    """
    count = PacketCount()
    resampler: _StreamResampler | None = None
    first_s = 0.0
    position = 0  # of the source's samples, from the first one on
    for time_s, rate_hz, piece in _sound_pieces(path, count):
        if resampler is None:
            first_s, resampler = time_s, _StreamResampler(rate_hz)
        elif rate_hz != resampler.rate_hz:
            raise ItemError(
                Reason.UNDECODABLE,
                f"its sound changes from {resampler.rate_hz} to {rate_hz} Hz on the way.",
            )
        wanted = (time_s - first_s) * rate_hz
        if wanted > MAX_DURATION_S * rate_hz:
            raise ItemError(
                Reason.TOO_LONG,
                f"its sound lasts more than {MAX_DURATION_S:.0f} s of presentation.",
            )
        apart = round(wanted) - position
        if abs(wanted - position) <= _JITTER_S * rate_hz:
            apart = 0
        for start in range(0, apart, rate_hz):
            silence = np.zeros(min(rate_hz, apart - start), np.float32)
            yield first_s, resampler.push(silence)
        kept = piece[max(0, -apart) :]  # what overlaps is not heard twice
        position += max(0, apart) + len(kept)
        yield first_s, resampler.push(kept)
    count.check("sound")
    if resampler is not None:
        yield first_s, resampler.finish()


def read_frames(path: Path, start_s: float, num_frames: int) -> Iterator[np.ndarray]:
    """Read a span of pictures at 25 a second, upright and with square pixels, in one pass.

    Picture i is the one that shows at `start_s` + i / 25: the latest whose time is at most half a
    frame later, so that a source of 25 a second gives each of its pictures once whatever its
    offset. Before the first picture there is the first, after the last the last, and a picture
    that is missing or does not decode is the one before it. A repeated picture is yielded as the
    same array: do not write into it.

    Yields:
        (height, width, 3) uint8 RGB, `num_frames` of them, all of the same size.

    Raises:
        ItemError: cannot be opened, no pictures, or too many that do not decode (at the latest
            before the last picture is yielded).
    """
    _check_span(start_s, num_frames / FPS)
    if num_frames == 0:
        return
    count = PacketCount()
    produced = 0
    held: np.ndarray | None = None  # the pictures that show now, converted once
    for until_s, picture in _shown_pictures(path, count):
        held = None
        while start_s + (produced + 0.5) / FPS - _TIE_S < until_s:
            if produced == num_frames - 1:
                count.check("picture")
            held = picture() if held is None else held
            yield held
            produced += 1
            if produced == num_frames:
                return


def _check_span(start_s: float, duration_s: float) -> None:
    if not 0 <= duration_s <= MAX_DURATION_S:
        raise ValueError(
            f"a span of {duration_s} s was asked for; it may be 0 to {MAX_DURATION_S:.0f} s."
        )
    if not np.isfinite(start_s):
        raise ValueError(f"the span starts at {start_s}; it must be a number of seconds.")


# --- sound -------------------------------------------------------------------------------------


def _sound_pieces(path: Path, count: PacketCount) -> Iterator[tuple[float, int, np.ndarray]]:
    """Decoded sound in order: time in seconds, rate in Hz, (samples,) float32 mono."""
    with open_local(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise ItemError(Reason.NO_AUDIO, "it has no sound.")
        end_s: float | None = None
        for packet in packets(container, [stream]):
            for frame in decode_packet(packet, count):
                piece = _mono(frame)  # type: ignore[arg-type]
                stamp_s = frame_time_s(frame)
                time_s = (end_s or 0.0) if stamp_s is None else stamp_s
                rate_hz = frame.sample_rate  # type: ignore[union-attr]
                # MP4 tells by its duration how much of the last packet is sound and not padding.
                if packet.time_base == Fraction(1, rate_hz) and packet.pts == frame.pts:
                    piece = piece[: packet.duration or None]
                yield time_s, rate_hz, piece
                end_s = time_s + len(piece) / rate_hz
        if end_s is None:
            count.check("sound")
            raise ItemError(Reason.NO_AUDIO, "its sound is empty.")


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """(samples,) float32 in -1..1: the channels' weighted mean."""
    values = frame.to_ndarray()
    names = [channel.name for channel in frame.layout.channels]
    if not frame.format.is_planar:
        values = values.reshape(-1, len(names)).T
    samples = _as_float(values)
    if len(names) == 1:
        return samples[0]
    if len(names) == 2:
        return (samples[0] + samples[1]) * np.float32(0.5)
    weights = np.array([_CHANNEL_WEIGHTS.get(n, _OTHER_CHANNEL_WEIGHT) for n in names], np.float32)
    return (weights / weights.sum()) @ samples


def _as_float(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.integer):
        return (values / np.float64(-np.iinfo(values.dtype).min)).astype(np.float32)
    # A damaged float stream can hold anything; FFmpeg clips at conversion to integers too.
    return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1.0, neginf=-1.0)


def _place(buffer: np.ndarray, position: int, piece: np.ndarray) -> None:
    first, last = max(position, 0), min(position + len(piece), len(buffer))
    if last > first:
        buffer[first:last] = piece[first - position : last - position]


def _resample(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    if rate_hz == RATE_HZ or not len(samples):
        return samples
    import soxr

    return soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ")


class _StreamResampler:
    """Sound at one rate in, int16 at 16 kHz out, in pieces; nothing is delayed."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._taken = self._given = 0
        self._soxr: Any = None
        if rate_hz != RATE_HZ:
            import soxr

            self._soxr = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")

    def push(self, piece: np.ndarray) -> np.ndarray:
        self._taken += len(piece)
        return self._give(piece if self._soxr is None else self._soxr.resample_chunk(piece))

    def finish(self) -> np.ndarray:
        """The rest; all pieces together have the length of the sound."""
        rest = np.zeros(0, np.float32)
        if self._soxr is not None:
            rest = self._soxr.resample_chunk(rest, last=True)
        missing = round(self._taken * RATE_HZ / self.rate_hz) - self._given
        rest = rest[:missing]
        return self._give(np.pad(rest, (0, missing - len(rest))))

    def _give(self, piece: np.ndarray) -> np.ndarray:
        self._given += len(piece)
        return _as_int16(piece)


def _as_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


# --- pictures ----------------------------------------------------------------------------------


class _Picture:
    """A decoded picture that is converted to RGB only when it is asked for."""

    def __init__(
        self, frame: av.VideoFrame, reformatter: VideoReformatter, shape: Geometry
    ) -> None:
        self._frame, self._reformatter, self._shape = frame, reformatter, shape

    def __call__(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB, upright."""
        from av.video.reformatter import Interpolation

        # Bit-exact: the fast paths differ from one kind of processor to another.
        exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        scaled = self._reformatter.reformat(
            self._frame,
            width=self._shape.width,
            height=self._shape.height,
            format="rgb24",
            interpolation=int(exact),
        )
        return np.ascontiguousarray(np.rot90(scaled.to_ndarray(), self._shape.rotation // 90))


def _shown_pictures(path: Path, count: PacketCount) -> Iterator[tuple[float, _Picture]]:
    """The pictures in order, each with the time until which it shows; the last shows for ever."""
    from av.video.reformatter import VideoReformatter

    with open_local(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise ItemError(Reason.NO_VIDEO, "it has no pictures.")
        step_s = float(1 / stream.average_rate) if stream.average_rate else 1 / FPS
        reformatter, shape = VideoReformatter(), None
        held: _Picture | None = None
        last_s = -np.inf
        for packet in packets(container, [stream]):
            for frame in decode_packet(packet, count):
                stamp_s = frame_time_s(frame)
                if stamp_s is None:
                    stamp_s = last_s + step_s if held is not None else 0.0
                if stamp_s <= last_s:  # damaged stamps: time does not run backwards
                    continue
                if held is not None:
                    yield stamp_s, held
                shape = shape or geometry(stream, frame)  # type: ignore[arg-type]
                held, last_s = _Picture(frame, reformatter, shape), stamp_s  # type: ignore[arg-type]
        if held is None:
            count.check("picture")
            raise ItemError(Reason.UNDECODABLE, "none of its pictures decodes.")
        yield np.inf, held
