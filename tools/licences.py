"""Write docs/licences.md: every package of uv.lock with its licence, and the data of others.

    python -m tools.licences [REPORT]

A licence is read from the metadata of the installed package, or from a report of `pip install
--dry-run --no-deps --ignore-installed --report REPORT NAME==VERSION ...`, which reads metadata
alone. What is in neither keeps the line that the page has; a package of which nothing is known ends
the program with its name.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "uv.lock"
PAGE = ROOT / "docs" / "licences.md"
ASSETS = ("avsep/corpora/demo/data", "avsep/faces/data", ".dvc/plots")

HEAD = """# Licences

avsep itself is under Apache-2.0 (`LICENSE`). `python -m tools.licences` writes this page: the
data of others that the repository has, and every package of `uv.lock` with the licence that its own
metadata gives. Nothing of these packages is in the repository; they come from the package index. An
installation has those alone that its extras ask for.
"""
# The metadata of these says nothing, or a whole page; their files say this.
SAID_BY_FILES = {
    "cuda-toolkit": "none stated (NVIDIA; it only names other packages)",
    "embreex": "BSD-2-Clause",
    "huey": "MIT",
    "skops": "MIT",
    "text-unidecode": "Artistic License OR GPL-2.0-or-later",
}
SHORT = 60


def name_of(text: str) -> str:
    """The name of a package in the one form that the index uses."""
    return re.sub(r"[-_.]+", "-", text).lower()


def licence_of(name: str, expression: str, text: str, classifiers: Iterable[str]) -> str:
    """The licence that a package's metadata gives; empty where it gives none.

    Args:
        name: of the package.
        expression: its License-Expression, the newest of the three forms.
        text: its License, which may be the whole text.
        classifiers: all its classifiers.
    """
    if said := SAID_BY_FILES.get(name_of(name)):
        return said
    classes = sorted(
        line.rpartition(" :: ")[2]
        for line in classifiers
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    )
    for found in (expression, text if len(text) <= SHORT else "", " AND ".join(classes)):
        if found and found != "UNKNOWN":
            return found.replace("|", "OR").replace("\n", " ").strip()
    return ""


def installed() -> dict[str, str]:
    """Licences of the packages that are installed here, by name."""
    found = {}
    for one in distributions():
        name, fields = one.metadata["Name"], one.metadata.get_all
        expression, text = ((fields(key) or [""])[0] for key in ("License-Expression", "License"))
        found[name_of(name)] = licence_of(name, expression, text, fields("Classifier") or [])
    return found


def reported(path: Path) -> dict[str, str]:
    """Licences of the packages in a report of pip, by name."""
    found = {}
    for one in json.loads(path.read_text("utf-8"))["install"]:
        meta = one["metadata"]
        forms = (meta.get("license_expression") or "", meta.get("license") or "")
        found[name_of(meta["name"])] = licence_of(meta["name"], *forms, meta.get("classifier", []))
    return found


def locked() -> list[str]:
    """Names of all packages of the lock but ours."""
    packages = tomllib.loads(LOCK.read_text("utf-8"))["package"]
    return sorted({one["name"] for one in packages} - {"avsep"})


def listed() -> dict[str, str]:
    """What the page says now."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    rows = re.findall(r"^\| `([\w.-]+)` \| (.+) \|$", text, re.MULTILINE)
    return dict(rows)


def assets() -> list[tuple[str, str, str]]:
    """Folder, what, and licence, from the tables in the folders with the data of others."""
    rows = []
    for folder in ASSETS:
        text = (ROOT / folder / "LICENCES.md").read_text("utf-8")
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("|") and cells[-1] not in ("licence", "---"):
                rows.append((folder, cells[1], cells[-1]))
    return rows


def page(reports: Iterable[Path] = ()) -> str:
    """The whole page.

    Args:
        reports: of pip, on packages that are not installed here.

    Raises:
        SystemExit: a package of the lock is neither installed nor on the page.
    """
    known = listed() | installed()
    for path in reports:
        known |= reported(path)
    names = locked()
    if unknown := [name for name in names if not known.get(name)]:
        sys.exit(
            f"No licence is known of {', '.join(unknown)}: install them here, and run this again."
        )
    lines = [HEAD, "## Data of others\n", "| in | what | licence |", "|---|---|---|"]
    lines += [f"| `{folder}` | {what} | {licence} |" for folder, what, licence in assets()]
    lines += ["\n## Packages\n", "| package | licence |", "|---|---|"]
    lines += [f"| `{name}` | {known[name]} |" for name in names]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(map(Path, sys.argv[1:])), "utf-8")
