"""`vox2_meta.csv`, the list of the speakers of VoxCeleb2."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from avsep.corpora.source_files import read_list
from avsep.errors import UsageError

MAX_BYTES = 16 << 20
_COLUMNS = ("voxceleb2 id", "gender", "set")
_ID = re.compile(r"id\d{5}")


@dataclass(frozen=True)
class Person:
    """One speaker.

    Attributes:
        gender: `f` or `m`.
        part: `dev` or `test`.
    """

    gender: str
    part: str


def read_vox2_meta(path: Path) -> dict[str, Person]:
    """Read the list of speakers, by id.

    The published file starts with a byte order mark, ends its lines with CRLF and has a space
    after every field.

    Raises:
        UsageError: the file is wrong; the message names the line.
    """
    try:
        lines = io.StringIO(read_list(path, MAX_BYTES), newline="")
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    except csv.Error as error:
        raise UsageError(f"{path} is not a csv file: {error}.") from error
    names = [name.lower() for name in rows[0]] if rows else []
    if missing := [name for name in _COLUMNS if name not in names]:
        raise UsageError(f"{path} lacks the column(s) {', '.join(missing)}; is it vox2_meta.csv?")
    columns = [names.index(name) for name in _COLUMNS]
    people: dict[str, Person] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        where = f"line {number} of {path}"
        if len(row) <= max(columns):
            raise UsageError(f"{where} has {len(row)} cells; line 1 names {len(names)} columns.")
        speaker, gender, part = (row[column] for column in columns)
        if not _ID.fullmatch(speaker) or gender not in ("f", "m") or part not in ("dev", "test"):
            raise UsageError(
                f"{where} is {speaker!r}, {gender!r}, {part!r}; not an id, f or m, dev or test."
            )
        if speaker in people:
            raise UsageError(f"{where} names {speaker} a second time.")
        people[speaker] = Person(gender, part)
    return people
