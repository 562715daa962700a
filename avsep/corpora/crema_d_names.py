"""Names of CREMA-D: files, sentences, and the lists that come with it.

Source: Cao, Cooper, Keutmann, Gur, Nenkova and Verma 2014, doi 10.1109/TAFFC.2014.2336244.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from avsep.corpora.source_files import read_list
from avsep.errors import UsageError

DEMOGRAPHICS, FILENAMES = "VideoDemographics.csv", "SentenceFilenames.csv"
MAX_LIST_BYTES = 4 << 20
STEM = re.compile(r"(1\d{3})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(XX|LO|MD|HI|X)")
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}


def read_genders(path: Path) -> dict[str, str]:
    """`f` or `m` by actor, from `VideoDemographics.csv`.

    Raises:
        UsageError: the file is missing, or has other columns or values.
    """
    genders = {}
    for number, row in _rows(path, "ActorID", "Sex"):
        actor, sex = row["ActorID"], row["Sex"].lower()[:1]
        if not re.fullmatch(r"1\d{3}", actor) or sex not in ("f", "m"):
            raise UsageError(f"line {number} of {path} is {actor!r}, {row['Sex']!r}; not an actor.")
        genders[actor] = sex
    return genders


def read_stems(path: Path) -> list[str]:
    """The names of all clips without their suffix, from `SentenceFilenames.csv`.

    Raises:
        UsageError: the file is missing, has other columns, or names something else.
    """
    stems = []
    for number, row in _rows(path, "Filename"):
        if not STEM.fullmatch(row["Filename"]):
            raise UsageError(
                f"line {number} of {path} names {row['Filename']!r}, which is not a clip."
            )
        stems.append(row["Filename"])
    return stems


def _rows(path: Path, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with the number of their line; values without spaces around them."""
    lines = io.StringIO(read_list(path, MAX_LIST_BYTES), newline="")
    reader = csv.DictReader(lines, skipinitialspace=True)
    try:
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise UsageError(f"{path} lacks the column(s) {', '.join(missing)}.")
        for row in reader:
            yield reader.line_num, {name: (row[name] or "").strip() for name in columns}
    except csv.Error as error:
        raise UsageError(f"{path} is not a csv file: {error}.") from error
