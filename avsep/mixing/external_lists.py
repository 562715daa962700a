"""Read lists of mixtures as their authors published them.

Two formats are read, plain or gzipped:

- `scp` of the CTCNet family, one mixture per line: `<path of one> x <path of other> -x`. The paths
  are those of the authors' machine, so only base names count.
- `csv` of MuSE and ClearerVoice, without a header: the split of the list; for each voice the split
  it was taken from, its speaker, `<video>/<number>` and its level in dB; at the end the seconds.

Ids are parsed by their fixed widths, because ids of videos may contain `_` and `-`.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from avsep.errors import CheckError

MAX_LINE = 4096
MAX_LINES = 5_000_000
NAME_DIGITS = 5  # significant digits of levels in the names of rendered files

# VoxCeleb2 `id<5>_<11>_<5>`, LRS2 `<19>_<5>` (programme), LRS3 `<11>_<5>` (talk).
_VOX2 = re.compile(r"(?P<speaker>id\d{5})_(?P<programme>[A-Za-z0-9_-]{11})_(?P<number>\d{5})")
_LRS2 = re.compile(r"(?P<programme>\d{19})_(?P<number>\d{5})")
_LRS3 = re.compile(r"(?P<programme>[A-Za-z0-9_-]{11})_(?P<number>\d{5})")
_VIDEO = re.compile(r"(?P<programme>[A-Za-z0-9_-]{11})/(?P<number>\d{5})")


@dataclass(frozen=True, kw_only=True)
class ListedVoice:
    """One voice of a listed mixture.

    Attributes:
        utterance: id of the utterance.
        speaker: id of the speaker, or empty if the corpus names none (LRS2, LRS3).
        programme: the video, talk or broadcast it comes from; for our own samples, their group.
        level_db: level in dB, as in the list.
        sha256: sha256 of the sound, or empty if unknown.
        gender: `f`, `m` or empty.
    """

    utterance: str
    speaker: str = ""
    programme: str = ""
    level_db: float = 0.0
    sha256: str = ""
    gender: str = ""

    @property
    def identity(self) -> str:
        """The speaker, or the programme if the speaker is unknown."""
        return self.speaker or self.programme


@dataclass(frozen=True, kw_only=True)
class ListedMixture:
    """One line of a list.

    Attributes:
        voices: voices in the order of the list.
        seconds: length, or NaN if the list does not give it.
    """

    voices: tuple[ListedVoice, ...]
    seconds: float = math.nan


def read_external_list(path: Path) -> dict[str, list[ListedMixture]]:
    """The mixtures of a published list, by split.

    Args:
        path: the list; its name ends in `.scp` or `.csv`, also with `.gz`. An `scp` is one split,
            named like the file; a `csv` names the splits itself.

    Raises:
        CheckError: the list is missing, of another format, or damaged; names the line.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind not in (".scp", ".csv"):
        raise CheckError(
            f"{path} is not a known list: its name must end in .scp or .csv, also with .gz."
        )
    found: dict[str, list[ListedMixture]] = {}
    stem = path.name.removesuffix(".gz").removesuffix(kind)
    for number, line in enumerate(_lines(path), start=1):
        try:
            split, mixture = _muse(line) if kind == ".csv" else (stem, _ctcnet(line))
        except ValueError as error:
            raise CheckError(f"{path}, line {number}: {error}") from error
        found.setdefault(split, []).append(mixture)
    if not found:
        raise CheckError(f"{path} has no mixtures.")
    return found


def read_genders(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Gender and set of each speaker of VoxCeleb2's `vox2_meta.csv`, plain or gzipped.

    The file has a byte-order mark, and a space after each field.

    Returns:
        `f` or `m` by speaker, and `dev` or `test` by speaker.

    Raises:
        CheckError: the file is missing, or is not this table.
    """
    rows = [[cell.strip() for cell in row] for row in csv.reader(_lines(path))]
    header = rows[0] if rows else []
    if not {"VoxCeleb2 ID", "Gender", "Set"} <= set(header):
        raise CheckError(
            f"{path} is not vox2_meta.csv: its first line must name VoxCeleb2 ID, Gender and Set."
        )
    speaker, gender, part = (header.index(name) for name in ("VoxCeleb2 ID", "Gender", "Set"))
    if any(len(row) != len(header) for row in rows):
        raise CheckError(f"{path} is damaged: its lines have different numbers of fields.")
    return (
        {row[speaker]: row[gender] for row in rows[1:]},
        {row[speaker]: row[part] for row in rows[1:]},
    )


def parse_utterance(name: str, level_db: float = 0.0) -> ListedVoice:
    """A voice from the base name of a file, without its suffix.

    Raises:
        ValueError: the name has none of the known forms.
    """
    for pattern in (_VOX2, _LRS2, _LRS3):
        if match := pattern.fullmatch(name):
            return ListedVoice(utterance=name, level_db=level_db, **_ids(match))
    raise ValueError(f"{name!r} is not an utterance of VoxCeleb2, LRS2 or LRS3.")


def _ids(match: re.Match[str]) -> dict[str, str]:
    return {k: v for k, v in match.groupdict().items() if k in ("speaker", "programme")}


def _ctcnet(line: str) -> ListedMixture:
    fields = line.split()
    if len(fields) < 4 or len(fields) % 2:
        raise ValueError(f"it has {len(fields)} fields; each voice must have a path and a level.")
    voices = [
        parse_utterance(PurePosixPath(path).name.removesuffix(".wav"), _level(level))
        for path, level in zip(fields[::2], fields[1::2], strict=True)
    ]
    return ListedMixture(voices=tuple(voices))


def _muse(line: str) -> tuple[str, ListedMixture]:
    fields = line.split(",")
    if len(fields) < 10 or len(fields) % 4 != 2:
        raise ValueError(
            f"it has {len(fields)} fields; it must have a split, four per voice, and a length."
        )
    voices = []
    for at in range(1, len(fields) - 1, 4):
        _, speaker, video, level = fields[at : at + 4]
        match = _VIDEO.fullmatch(video)
        if match is None or not re.fullmatch(r"id\d{5}", speaker):
            raise ValueError(f"{speaker} {video} is not an utterance of VoxCeleb2.")
        voices.append(
            ListedVoice(
                utterance=f"{speaker}_{match['programme']}_{match['number']}",
                speaker=speaker,
                programme=match["programme"],
                level_db=_level(level),
            )
        )
    return fields[0], ListedMixture(voices=tuple(voices), seconds=_level(fields[-1]))


def _level(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number.")
    return value


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            for _ in range(MAX_LINES):
                line = file.readline(MAX_LINE)
                if not line:
                    return
                if not line.endswith("\n") and len(line) == MAX_LINE:
                    raise CheckError(f"{path} has a line of more than {MAX_LINE} characters.")
                if line.strip():
                    yield line.rstrip("\r\n")
            raise CheckError(f"{path} has more than {MAX_LINES} lines.")
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CheckError(f"{path} cannot be read: {error}.") from error
