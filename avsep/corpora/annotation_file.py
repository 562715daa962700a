"""The text files beside the clips of VoxCeleb2, LRS2 and LRS3: headers, boxes and timed words.

A file starts with a header of `Key: value` lines. Blocks of rows follow, each under a line of
column names (`FRAME X Y W H`, or `WORD START END ASDSCORE`), with blank lines in between.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from avsep.errors import ItemError, Reason

MAX_BYTES = 4 << 20
MAX_ROWS = 1_000_000

_LINE_BREAK = re.compile(r"\r\n?|\n")
_CELL = re.compile(r"[^ \t]+")
_NUMBER = re.compile(r"\s*([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")
# Header keys that become scores. Only the number counts: the header may have `17.8(0)`.
_SCORES = {
    "offset": "av_offset",
    "fv conf": "fv_conf",
    "asd conf": "asd_conf",
    "conf": "text_conf",
}


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Where the face is in each frame of the source, at 25 frames per second.

    Attributes:
        first_frame: frame number of the first row.
        rows: (x, y, width, height) per frame; x and y are the upper left corner.
        in_pixels: whether the values are pixels of a picture 360 high, as in VoxCeleb1; otherwise
            they are shares of the picture.
    """

    first_frame: int
    rows: tuple[tuple[float, float, float, float], ...]
    in_pixels: bool

    @property
    def aspect(self) -> float:
        """Width over height of the source picture, from the square boxes; 0 if unknown.

        A width of 0 stands for one that is not known: the box is then a square of that height.
        """
        if self.in_pixels or not all(width for _, _, width, _ in self.rows):
            return 0.0
        ratios = sorted(height / width for _, _, width, height in self.rows)
        return ratios[len(ratios) // 2]


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """The contents of one file.

    Attributes:
        header: values of the header by key, in lower case.
        scores: the numbers of the header, by our names.
        boxes: boxes of the face, or None.
        words: word, start and end in seconds, and score of each timed word.
    """

    header: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    boxes: Boxes | None = None
    words: tuple[tuple[str, float, float, float], ...] = ()

    @property
    def text(self) -> str:
        """The transcript, or empty."""
        return self.header.get("text", "")

    @property
    def video(self) -> str:
        """The YouTube id in the header, or empty."""
        return self.header.get("reference", self.header.get("ref", ""))


def parse_annotation(content: bytes, name: str) -> AnnotationFile:
    """Parse one file.

    Args:
        content: bytes of the file.
        name: what error messages call it.

    Raises:
        ItemError: the file is damaged, too large, or its frames have a gap.
    """
    if len(content) > MAX_BYTES:
        raise ItemError(
            Reason.BAD_ANNOTATION,
            f"{name} has {len(content)} bytes; at most {MAX_BYTES} are accepted.",
        )
    try:
        # Not `splitlines`: a transcript may hold U+2028 and other line breaks.
        lines = _LINE_BREAK.split(content.decode("utf-8-sig"))
        return _parse(lines[: MAX_ROWS + 1])
    except (UnicodeDecodeError, ValueError) as error:
        raise ItemError(Reason.BAD_ANNOTATION, f"{name}: {error}") from error


def _parse(lines: list[str]) -> AnnotationFile:
    header: dict[str, str] = {}
    boxes: list[list[str]] = []
    words: list[list[str]] = []
    block: list[list[str]] | None = None
    for number, line in enumerate(lines, 1):
        cells = _CELL.findall(line)
        if not cells:
            block = None
        elif cells[0] == "FRAME":
            block = boxes
        elif cells[0] == "WORD":
            block = words
        elif block is not None:
            block.append(cells)
        elif ":" in line:
            key, _, value = line.partition(":")
            header[key.strip().lower()] = value.strip()
        else:
            raise ValueError(f"line {number} is neither a header nor a row.")
    if not header:
        raise ValueError("the header is missing.")
    scores = {_SCORES[key]: _first_number(key, header[key]) for key in _SCORES if key in header}
    return AnnotationFile(
        header=header,
        scores=scores,
        boxes=_boxes(boxes) if boxes else None,
        words=tuple(_word(cells) for cells in words),
    )


def _first_number(key: str, value: str) -> float:
    found = _NUMBER.match(value)
    number = math.nan if found is None else float(found[1])
    if not math.isfinite(number):
        raise ValueError(f"{key} is {value!r}, which is not a finite number.")
    return number


def _boxes(rows: list[list[str]]) -> Boxes:
    frames = [int(cells[0]) for cells in rows]
    for one, other in pairwise(frames):
        if other != one + 1:
            raise ValueError(f"frame {other} follows frame {one}; there is a gap.")
    values = [_box(cells) for cells in rows]
    return Boxes(
        first_frame=frames[0],
        rows=tuple(values),
        in_pixels=any(value > 1.5 for value in _flat(values)),
    )


def _flat(values: Iterable[tuple[float, ...]]) -> Iterable[float]:
    return (number for row in values for number in row)


def _box(cells: list[str]) -> tuple[float, float, float, float]:
    if len(cells) != 5:
        raise ValueError(f"a row of boxes has {len(cells)} cells; it needs five: FRAME X Y W H.")
    x, y, width, height = (float(cell) for cell in cells[1:])
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise ValueError(f"frame {cells[0]} does not have a box with a positive size.")
    return x, y, width, height


def _word(cells: list[str]) -> tuple[str, float, float, float]:
    if len(cells) < 3:
        raise ValueError(f"a row of words has {len(cells)} cells; it needs WORD START END.")
    start_s, end_s = float(cells[1]), float(cells[2])
    score = float(cells[3]) if len(cells) > 3 else math.nan
    if not (math.isfinite(end_s) and 0 <= start_s <= end_s):
        raise ValueError(f"the word {cells[0]} lasts from {start_s:g} to {end_s:g} s.")
    return cells[0], start_s, end_s, score
