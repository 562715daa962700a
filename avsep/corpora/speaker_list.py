"""The csv file that names the speaker of each video in a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from avsep.corpora.ids import one_spelling
from avsep.corpora.source_files import fingerprint_of, read_list
from avsep.errors import UsageError
from avsep.schema import SPLITS

COLUMNS = ("file", "speaker", "gender", "split", "group", "text")
MAX_BYTES = 256 << 20
_GENDERS = {"": "", "f": "f", "m": "m", "female": "f", "male": "m"}


@dataclass(frozen=True, kw_only=True)
class SpeakerEntry:
    """What the csv says about one file.

    Attributes:
        speaker: name of the speaker, never empty.
        gender: `f`, `m` or empty.
        split: `train`, `val`, `test` or empty.
        group: name shared by speakers who must be in the same split, or empty.
        text: transcript, or empty.
    """

    speaker: str
    gender: str = ""
    split: str = ""
    group: str = ""
    text: str = ""


def read_speaker_list(
    root: Path, name: str, extensions: Collection[str]
) -> dict[str, SpeakerEntry]:
    """Read a csv: what it says about each file, by the path of the file in `root`.

    The files need not exist. A split named in one row of a speaker is used for all rows of that
    speaker.

    Args:
        root: the folder of videos.
        name: path of the csv in `root`.
        extensions: file name extensions that videos may have.

    Raises:
        UsageError: the csv is wrong; the message names the line.
    """
    path = root / name
    try:
        lines = io.StringIO(read_list(path, MAX_BYTES), newline="")
        entries = dict(_entries(lines, root, path, extensions))
    except csv.Error as error:
        raise UsageError(f"{path} is not a csv file: {error}.") from error
    return _spread_splits(entries, path)


def _entries(
    lines: Iterator[str], root: Path, path: Path, extensions: Collection[str]
) -> Iterator[tuple[str, SpeakerEntry]]:
    reader = csv.DictReader(lines, strict=True)
    columns = [str(column).strip().lower() for column in reader.fieldnames or ()]
    if not {"file", "speaker"} <= set(columns):
        raise UsageError(f"{path} lacks the column file or speaker; name the columns in line 1.")
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise UsageError(
            f"{path} has the unknown column {unknown[0]!r}; the known ones are {COLUMNS}."
        )
    reader.fieldnames = columns
    seen: set[str] = set()
    for row in reader:
        where = f"line {reader.line_num} of {path}"
        if None in row:
            raise UsageError(f"{where} has more fields than columns.")
        file = row["file"] or ""
        # A path may begin or end with a space.
        if file != file.strip() and not fingerprint_of(root / file):
            file = file.strip()
        file = _check_file(file, where, extensions)
        values = {key: (value or "").strip() for key, value in row.items() if key != "file"}
        if file in seen:
            raise UsageError(f"{where} names {file} a second time.")
        seen.add(file)
        yield file, _parse_row(values, where)


def _check_file(file: str, where: str, extensions: Collection[str]) -> str:
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts or "\0" in file:
        raise UsageError(f"{where} has the file {file!r}; give a path inside the folder.")
    if path.suffix.lower() not in extensions:
        raise UsageError(
            f"{where} names {file}, which does not end in one of {sorted(extensions)}."
        )
    return path.as_posix()


def _parse_row(values: dict[str, str], where: str) -> SpeakerEntry:
    if not values["speaker"]:
        raise UsageError(f"{where} has no speaker.")
    gender = _GENDERS.get(values.get("gender", "").lower())
    if gender is None:
        raise UsageError(f"{where} has the gender {values['gender']!r}; it may be f, m or empty.")
    split = values.get("split", "").lower()
    if split and split not in SPLITS:
        raise UsageError(f"{where} has the split {split!r}; it may be {', '.join(SPLITS)}.")
    return SpeakerEntry(
        speaker=one_spelling(values["speaker"]),
        gender=gender,
        split=split,
        group=one_spelling(values.get("group", "")),
        text=values.get("text", ""),
    )


def _spread_splits(entries: dict[str, SpeakerEntry], path: Path) -> dict[str, SpeakerEntry]:
    splits: dict[str, str] = {}
    for file, entry in entries.items():
        known = splits.setdefault(entry.speaker, entry.split) if entry.split else ""
        if known != entry.split:
            raise UsageError(
                f"{path} puts the speaker {entry.speaker} into {known} and, with {file}, into"
                f" {entry.split}; a speaker must be in one split only."
            )
    return {
        file: replace(entry, split=splits.get(entry.speaker, "")) for file, entry in entries.items()
    }
