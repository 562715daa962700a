"""What the bad and odd media of `zoo_cases` are made of, and the table of how they end."""

from __future__ import annotations

import os
import subprocess
import wave
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from avsep.media.ffmpeg import binary
from tests.support.clip_maker import make_clip, moving_pictures, speech_like

FRAMES, RATE_HZ = 40, 16_000
SECONDS = FRAMES / 25


class Studio:
    """What the media are made of, and with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def head(self) -> Path:
        """A head that talks, of `FRAMES` pictures."""
        from avsep.corpora.demo.corpus import DemoClip, talk

        prepared = talk(DemoClip(speaker=0, number=0), seed=1, num_frames=FRAMES)
        pictures = [picture for picture, _ in prepared.frames]
        return make_clip(self.folder / "head.mkv", pictures=pictures)

    @cached_property
    def square(self) -> Path:
        """A square that wanders: enough for what never gets as far as a face."""
        return make_clip(self.folder / "square.mkv", pictures=moving_pictures(FRAMES))

    def sound(self, name: str, seconds: float = SECONDS, level: float = 3_000) -> Path:
        """A wav of its own for each name, so that no clip repeats another."""
        path = self.folder / "sound.wav"
        samples = speech_like(seconds, level, seed=zlib.crc32(os.fsencode(name)))
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        return path

    def ffmpeg(self, *words: str | Path) -> None:
        """Run ffmpeg; its files are the same each time."""
        plain = ("-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact")
        whole = (binary(), "-v", "error", "-nostdin", "-y", *words[:-1], *plain, words[-1])
        subprocess.run([str(word) for word in whole], check=True)

    def clip(
        self,
        path: Path,
        *options: str | Path,
        video: Path | None = None,
        seconds: float = SECONDS,
        level: float = 3_000,
        before: tuple[str | Path, ...] = (),
    ) -> Path:
        """A clip: pictures (the head, copied) and its own sound (AAC), unless options say more."""
        sound = self.sound(path.name, seconds, level)
        if (path.suffix == ".avi" or "avi" in options) and "-c:v" not in options:
            options = (*options, "-bsf:v", "h264_mp4toannexb")
        self.ffmpeg(
            *before, "-i", video or self.head, "-i", sound,
            *("-map", "0:v", "-map", "1:a", "-c:v", "copy"), *options, f"file:{path}",
        )  # fmt: skip
        return path


@dataclass(frozen=True)
class Case:
    """One file of the zoo.

    Attributes:
        kind: what is wrong or odd about it; the row of the document.
        file: its name.
        ends: `done`, or the reason why it is dropped; the choices, where it depends on the place
            at which a file was cut.
        make: writes it to a path.
        sample: whether `make test` tries it too.
    """

    kind: str
    file: str
    ends: tuple[str, ...]
    make: Callable[[Studio, Path], object]
    sample: bool = False


def table(found: list[tuple[str, str]]) -> list[str]:
    """The lines of the document's table.

    Args:
        found: kind and ending of each file.
    """
    kinds: dict[str, Counter[str]] = {}
    for kind, ending in found:
        kinds.setdefault(kind, Counter())[ending] += 1
    lines = ["| media | files | ends as |", "|---|---|---|"]
    for kind, endings in kinds.items():
        words = ", ".join(ending if ending == "done" else f"`{ending}`" for ending in endings)
        lines.append(f"| {kind} | {endings.total()} | {words} |")
    return lines
