"""The csv that says who speaks in which video of a folder."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from avsep.errors import UsageError
from avsep.schema import SPLITS

COLUMNS = ("file", "speaker", "gender", "split", "group", "text")
MAX_BYTES = 256 << 20
_GENDERS = {"": "", "f": "f", "m": "m", "female": "f", "male": "m"}


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What is known of one file.

    Attributes:
        speaker: the speaker's name, never empty.
        gender: `f`, `m` or empty.
        split: `train`, `val`, `test`, or empty.
        group: name of what binds speakers together, or empty.
        text: transcript, or empty.
    """

    speaker: str
    gender: str = ""
    split: str = ""
    group: str = ""
    text: str = ""


def read_speaker_list(root: Path, name: str, extensions: Collection[str]) -> dict[str, Listed]:
    """Read the csv `name` in `root`: what is known of each file, by its path in `root`.

    The files need not exist. Where only some rows of a speaker name a split, it holds for all
    of that speaker's rows.

    Raises:
        UsageError: with the line, where the csv is wrong.
    """
    path = root / name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES} bytes; is it the right file?")
        with path.open(encoding="utf-8-sig", newline="") as handle:
            entries = dict(_entries(handle, path, extensions))
    except OSError as error:
        raise UsageError(f"download.folder.csv {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no csv in UTF-8: {error}.") from error
    return _one_split_a_speaker(entries, path)


def _entries(
    lines: Iterator[str], path: Path, extensions: Collection[str]
) -> Iterator[tuple[str, Listed]]:
    reader = csv.DictReader(lines, strict=True)
    columns = [str(column).strip().lower() for column in reader.fieldnames or ()]
    if not {"file", "speaker"} <= set(columns):
        raise UsageError(f"{path} lacks the column file or speaker; its first line names columns.")
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise UsageError(f"{path} has the unknown column {unknown[0]!r}; known are {COLUMNS}.")
    reader.fieldnames = columns
    seen: set[str] = set()
    for row in reader:
        where = f"line {reader.line_num} of {path}"
        if None in row:
            raise UsageError(f"{where} has more fields than columns.")
        values = {key: (value or "").strip() for key, value in row.items()}
        file = _checked_file(values.pop("file"), where, extensions)
        if file in seen:
            raise UsageError(f"{where} names {file} a second time.")
        seen.add(file)
        yield file, _listed(values, where)


def _checked_file(file: str, where: str, extensions: Collection[str]) -> str:
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{where} has the file {file!r}; give a path inside the folder.")
    if path.suffix.lower() not in extensions:
        raise UsageError(f"{where} names {file}, which does not end in {sorted(extensions)}.")
    return path.as_posix()


def _listed(values: dict[str, str], where: str) -> Listed:
    if not values["speaker"]:
        raise UsageError(f"{where} has no speaker.")
    gender = _GENDERS.get(values.get("gender", "").lower())
    if gender is None:
        raise UsageError(f"{where} has the gender {values['gender']!r}; it may be f, m or empty.")
    split = values.get("split", "").lower()
    if split and split not in SPLITS:
        raise UsageError(f"{where} has the split {split!r}; it may be {', '.join(SPLITS)}.")
    return Listed(
        speaker=values["speaker"],
        gender=gender,
        split=split,
        group=values.get("group", ""),
        text=values.get("text", ""),
    )


def _one_split_a_speaker(entries: dict[str, Listed], path: Path) -> dict[str, Listed]:
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
