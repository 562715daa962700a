"""Short clips with a flash and a click at known times, made with PyAV."""

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avsep.schema import RawClip

SIZE = 64  # pixels


def flash_pictures(count: int, flash: int, size: tuple[int, int] = (SIZE, SIZE)) -> list:
    """Dark pictures, each with its own faint moving bar, and a white one at index `flash`."""
    pictures = []
    for index in range(count):
        picture = np.full((*size, 3), 30, np.uint8)
        picture[:, 4 * index % size[1] : 4 * index % size[1] + 4] = 70
        if index == flash:
            picture[:] = 235
        pictures.append(picture)
    return pictures


def numbered_pictures(count: int) -> list:
    """Pictures that carry their number in eight stripes, black or white; see `numbers_of`."""
    pictures = []
    for index in range(count):
        bits = np.array([index >> bit & 1 for bit in range(8)], np.uint8)
        row = np.repeat(40 + 160 * bits, SIZE // 8).astype(np.uint8)
        pictures.append(np.broadcast_to(row[None, :, None], (SIZE, SIZE, 3)).copy())
    return pictures


def numbers_of(frames: list) -> list[int]:
    """The numbers of decoded `numbered_pictures`."""
    stripes = [frame.reshape(SIZE, 8, -1).mean(axis=(0, 2)) > 120 for frame in frames]
    return [int((1 << np.flatnonzero(bits)).sum()) for bits in stripes]


def click_time(audio: np.ndarray, rate_hz: int = 16_000) -> float:
    """When the click of `click_audio` starts, in seconds: by the centre of its energy."""
    power = audio.astype(np.float64) ** 2
    power[power < power.max() / 100] = 0
    return float((power * np.arange(len(power))).sum() / power.sum() / rate_hz) - 0.0005


def click_audio(seconds: float, click_s: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    """(samples, channels) int16: faint noise with a 1 ms burst that starts at `click_s`."""
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 20, round(seconds * rate_hz))
    first = round(click_s * rate_hz)
    audio[first : first + rate_hz // 1000] = 20_000 * np.sign(
        np.sin(np.arange(rate_hz // 1000) * 2.0 + 0.5)
    )
    return np.repeat(audio[:, None], channels, axis=1).astype(np.int16)


def speech_like(seconds: float, level: float = 3_000, seed: int = 0) -> np.ndarray:
    """(samples, 1) int16: noise in bursts of 0.3 s, 0.1 s apart."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 1, round(seconds * 16_000))
    gate = (np.arange(len(samples)) % 6_400) < 4_800
    return (samples * np.where(gate, level, level / 100)).astype(np.int16)[:, None]


def moving_pictures(count: int, seed: int = 0) -> list:
    """Grey pictures with a bright square that wanders."""
    rng = np.random.default_rng(seed)
    pictures = np.full((count, 64, 64, 3), 60, np.uint8)
    for index, picture in enumerate(pictures):
        x, y = (index * 3) % 48, int(rng.integers(0, 48))
        picture[y : y + 16, x : x + 16] = 200
    return list(pictures)


def noisy_pictures(count: int) -> list:
    """Grey noise, which does not compress well."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(count)]


def raw_clip(file: Path, clip_id: str = "x-s1-0", **changes) -> RawClip:
    """The row of the raw table for a file."""
    content = file.read_bytes()
    values = {
        "clip_id": clip_id,
        "corpus": "x",
        "speaker": "x-s1",
        "group": "x-s1",
        "gender": "f",
        "split": "train",
        "path": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    return RawClip(**(values | changes))


def make_clip(
    path: Path,
    *,
    pictures: list | None = None,
    fps: Fraction | int = 25,
    times_s: list[float] | None = None,
    video_delay_s: float = 0.0,
    video_codec: str = "libx264",
    video_options: dict | None = None,
    pixel_format: str = "",
    sample_aspect_ratio: Fraction | None = None,
    audio: np.ndarray | None = None,
    rate_hz: int = 16_000,
    audio_delay_s: float = 0.0,
    audio_codec: str = "aac",
    container_options: dict | None = None,
) -> Path:
    """Write pictures ((H, W, 3) uint8 each) and audio ((samples, channels) int16) to `path`."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        packets = []
        if pictures is not None:
            stream = container.add_stream(video_codec, rate=Fraction(fps))
            stream.height, stream.width = pictures[0].shape[:2]
            usual = "yuvj420p" if video_codec == "mjpeg" else "yuv420p"
            stream.pix_fmt = pixel_format or usual
            if sample_aspect_ratio:
                stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
            stream.codec_context.thread_count = 1
            stream.options = {"crf": "15"} | (video_options or {})
            ticks = 90_000 if times_s else Fraction(fps)
            time_base = 1 / Fraction(ticks)
            stream.codec_context.time_base = time_base
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                time_s = times_s[index] if times_s else Fraction(index) / Fraction(fps)
                frame.pts = round((time_s + Fraction(video_delay_s)) * ticks)
                frame.time_base = time_base
                packets += [(p, p.dts * p.time_base) for p in stream.encode(frame)]
            packets += [(p, p.dts * p.time_base) for p in stream.encode(None)]
        if audio is not None:
            channels = audio.shape[1]
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
            sound = container.add_stream(audio_codec, rate=rate_hz, layout=layout)
            sound.codec_context.time_base = Fraction(1, rate_hz)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(audio.reshape(1, -1)), format="s16", layout=layout
            )
            frame.sample_rate = rate_hz
            frame.pts = round(audio_delay_s * rate_hz)
            frame.time_base = Fraction(1, rate_hz)
            packets += [(p, p.dts * p.time_base) for p in sound.encode(frame)]
            packets += [(p, p.dts * p.time_base) for p in sound.encode(None)]
        for packet, _ in sorted(packets, key=lambda pair: pair[1]):
            container.mux(packet)
    return path
