"""For IIANet, CTCNet, RTFS-Net and Dolphin's training code: wavs, mouths, and lists of paths.

They read three lists for each of `tr`, `cv` and `tt`, with the same mixtures in the same order:
`mix.json` with `[wav, samples]`, `s1.json` and `s2.json` with `[wav, npz of the mouth, samples]`.
The npz holds `data`, (F, 96, 96) uint8, which starts with the wav. Paths are absolute, as in their
own lists.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from avsep.exporting.source import ExportSource, Mixture, check_two_voices
from avsep.files import inside, write_bytes, write_json
from avsep.media.pcm import encode_wav
from avsep.mixing.external_lists import NAME_DIGITS
from avsep.mixing.protocols import relative_db

FOLDERS = {"train": "tr", "val": "cv", "test": "tt"}
TREE = Path("wav16k/min")


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of mixtures."""
    count = 0
    for split in source.splits:
        lists: dict[str, list[list[object]]] = {"mix": [], "s1": [], "s2": []}
        for mixture in source.mixed(split):
            check_two_voices(mixture, "IIANet")
            _write(mixture, out.resolve(), FOLDERS[split], lists)
            count += 1
        for name, rows in lists.items():
            write_json(out / FOLDERS[split] / f"{name}.json", rows)
    return count


def file_name(mixture: Mixture) -> str:
    """`<one>_<x>_<other>_<-x>`, where x is half the level difference of the voices, in dB."""
    half = relative_db(mixture.recipe) / 2
    one, other = (voice.name for voice in mixture.voices)
    return f"{one}_{half:.{NAME_DIGITS}g}_{other}_{-half:.{NAME_DIGITS}g}"


def _write(mixture: Mixture, out: Path, folder: str, lists: dict[str, list[list[object]]]) -> None:
    name, samples = f"{file_name(mixture)}.wav", len(mixture.sound)
    mixed = inside(out / TREE / folder / "mix", name)
    write_bytes(mixed, encode_wav(mixture.sound))
    lists["mix"].append([str(mixed), samples])
    for which, voice in zip(("s1", "s2"), mixture.voices, strict=True):
        wav = inside(out / TREE / folder / which, name)
        write_bytes(wav, encode_wav(voice.mixed))
        mouth = inside(out / "mouths", f"{voice.name}.npz")
        if not mouth.exists() or _frames(mouth) < len(voice.lips):
            write_bytes(mouth, _npz(voice.lips))
        lists[which].append([str(wav), str(mouth), samples])


def _npz(lips: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=lips)
    return buffer.getvalue()


def _frames(mouth: Path) -> int:
    """Number of frames of a mouth that was written already, perhaps for a shorter mixture."""
    with np.load(mouth, allow_pickle=False) as stored:
        return len(stored["data"])
