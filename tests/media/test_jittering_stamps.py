"""Sound whose stamps jitter is whole; its gaps and its drift stay."""

import av
import numpy as np
import pytest

from avsep.media.decode import read_audio, stream_audio
from tests.support.clip_maker import make_clip, speech_like


def jittered(tmp_path, rate_hz: int, most_s: float, *, drop=(), drift=0.0, seconds=8.0, seed=1):
    """A plain clip, and its copy with the stamps of the sound moved at random.

    Args:
        tmp_path: folder for both.
        rate_hz: rate of the sound.
        most_s: largest error of a stamp, in seconds.
        drop: numbers of packets that are lost.
        drift: seconds per second by which the clock of the copy is fast.
        seconds: length of the sound.
        seed: of the errors.
    """
    rng = np.random.default_rng(seed)
    noise = speech_like(seconds * rate_hz / 16_000, level=20_000)[: round(seconds * rate_hz), 0]
    smooth = np.hanning(rate_hz // 1_000)
    audio = np.convolve(noise, smooth / smooth.sum(), "same").astype(np.int16)[:, None]
    plain = make_clip(tmp_path / "plain.mkv", audio=audio, rate_hz=rate_hz)
    copy = tmp_path / "jittered.mkv"
    with av.open(str(plain)) as reader, av.open(str(copy), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.audio[0])
        last = -(10**9)
        for number, packet in enumerate(p for p in reader.demux() if p.dts is not None):
            if number in drop:
                continue
            time_s = float(packet.pts * packet.time_base) * (1 + drift)
            time_s += 0.1 + rng.uniform(-most_s, most_s)
            last = packet.pts = packet.dts = max(last + 1, round(time_s / packet.time_base))
            packet.stream = stream
            writer.mux(packet)
    return plain, copy


def best_snr(reference: np.ndarray, found: np.ndarray, most: int = 400) -> float:
    """SNR in dB of the best single shift of a whole span."""
    inner = reference[most:-most].astype(float)
    errors = [
        ((found[most + lag : most + lag + len(inner)] - inner) ** 2).mean()
        for lag in range(-most, most)
    ]
    return 10 * np.log10((inner**2).mean() / max(min(errors), 1e-9))


@pytest.mark.slow
@pytest.mark.parametrize("most_s", [0.008, 0.015, 0.020])
@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 16_000])
def test_jitter_below_a_packet_moves_nothing(tmp_path, rate_hz, most_s):
    plain, copy = jittered(tmp_path, rate_hz, most_s)
    reference = read_audio(plain, 0.0, 120_000)
    assert best_snr(reference, read_audio(copy, 0.1, 120_000)) > 15
    first_s = next(stream_audio(copy))[0]
    assert first_s == pytest.approx(0.1, abs=0.012 + 0.065 * (rate_hz == 16_000))
    streamed = np.concatenate([block for _, block in stream_audio(copy)])
    assert len(streamed) == pytest.approx(128_000, abs=2_100)


@pytest.mark.slow
def test_single_packets_with_wrong_stamps_move_nothing(tmp_path):
    plain, _ = jittered(tmp_path, 48_000, 0.0)
    copy = tmp_path / "b.mkv"
    with av.open(str(plain)) as reader, av.open(str(copy), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.audio[0])
        for number, packet in enumerate(p for p in reader.demux() if p.dts is not None):
            if number % 9 == 5:
                packet.pts = packet.dts = packet.pts + 18
            packet.stream = stream
            writer.mux(packet)
    same = read_audio(plain, 0.0, 120_000), read_audio(copy, 0.0, 120_000)
    assert np.array_equal(*same)


@pytest.mark.parametrize("most_s", [0.0, 0.008, 0.012])
@pytest.mark.slow
def test_lost_packets_stay_gaps(tmp_path, most_s):
    drop = {80, 150, 151, 152, 260}
    plain, copy = jittered(tmp_path, 48_000, most_s, drop=drop)
    reference, found = read_audio(plain, 0.0, 120_000), read_audio(copy, 0.1, 120_000)
    packet = 1024 / 3  # samples at 16 kHz
    for first, stop in ((5, 75), (85, 145), (158, 255), (266, 345)):
        span = slice(round(first * packet), round(stop * packet))
        assert best_snr(reference[span], found[span], 300) > 15, (first, stop)
        # The lag is the same everywhere: nothing was moved by a packet.
        inner = reference[span][300:-300].astype(float)
        lags = [np.dot(inner, found[span][300 + k : 300 + k + len(inner)].astype(float))
                for k in range(-300, 300)]  # fmt: skip
        assert abs(int(np.argmax(lags)) - 300) < 0.012 * 16_000


@pytest.mark.slow
@pytest.mark.parametrize("most_s", [0.0, 0.012])
def test_drift_of_the_clock_is_followed(tmp_path, most_s):
    plain, copy = jittered(tmp_path, 48_000, most_s, drift=0.004, seconds=20.0)
    reference, found = read_audio(plain, 0.0, 320_000), read_audio(copy, 0.1, 320_000)
    for at_s in (2, 8, 14, 18):
        span = reference[at_s * 16_000 : at_s * 16_000 + 8_000].astype(float)
        first = at_s * 16_000 - 1_000
        scores = [np.dot(span, found[first + k : first + k + 8_000].astype(float))
                  for k in range(3_000)]  # fmt: skip
        lag_s = (int(np.argmax(scores)) - 1_000) / 16_000
        assert lag_s == pytest.approx(0.004 * at_s, abs=0.022)
