"""Names of GRID and Lombard GRID: files, speakers, and the sentence that a code of six stands for.

Source: Cooke, Barker, Cunningham and Shao 2006, doi 10.1121/1.2229005; Alghamdi, Maddock, Marxer,
Barker and Brown 2018, doi 10.1121/1.5042758.
"""

from __future__ import annotations

import re

GRID_SPEAKERS = tuple(f"s{n}" for n in range(1, 35) if n != 21)  # no video of s21 was published
LOMBARD_SPEAKERS = tuple(f"s{n}" for n in range(2, 56))
GRID_WOMEN = frozenset(
    f"s{n}" for n in (4, 7, 11, 15, 16, 18, 20, 21, 22, 23, 24, 25, 29, 31, 33, 34)
)
# Where the alignments of a speaker are, if not in the folder of that name. Two published lists
# agree; `grid` compares the codes too.
MISFILED = {
    "s6": "s5", "s5": "s6", "s13": "s10", "s10": "s11", "s11": "s12", "s12": "s13", "s15": "s14",
    "s14": "s15", "s19": "s18", "s18": "s19", "s21": "s20", "s23": "s22", "s22": "s23",
    "s27": "s26", "s26": "s27", "s29": "s28", "s28": "s29", "s33": "s32", "s32": "s33",
}  # fmt: skip

# Folders above a file; an archive that names others, such as `..`, was not made by the publishers.
_ABOVE = r"(?:[^/.\\][^/\\]*/)*"
_CODE = "[blps][bgrw][abiw][a-vx-z][z1-9][anps]"
GRID_CLIP = re.compile(rf"{_ABOVE}(s\d{{1,2}})/({_CODE})\.mpg")
GRID_ALIGNMENT = re.compile(rf"{_ABOVE}align(?:ments)?/(s\d{{1,2}})/({_CODE})\.align")
# A sentence that was read wrongly has the sentence in its name that was heard.
LOMBARD_FILE = re.compile(rf"{_ABOVE}((s\d{{1,2}})_([lp])_({_CODE}))(_WRONG_.*)?\.(mov|wav)")

_WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {chr(c): chr(c) for c in range(ord("a"), ord("z") + 1)},
    dict(
        zip(
            "z123456789",
            ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            strict=True,
        )
    ),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def words_of(code: str) -> tuple[str, ...]:
    """The six words of a code: `bbaf2n` is bin blue at f two now."""
    return tuple(words[letter] for words, letter in zip(_WORDS, code, strict=True))


def grid_gender(speaker: str) -> str:
    """`f` or `m`."""
    return "f" if speaker in GRID_WOMEN else "m"
