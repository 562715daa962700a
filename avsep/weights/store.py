"""The weights on this machine: in the runs of a project, and in a folder of the user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.downloading import download
from avsep.errors import CheckError
from avsep.files import read_json, write_json
from avsep.models import checkpoint
from avsep.models.registry import MODELS
from avsep.weights.catalogue import release
from avsep.workspace import Workspace

SOURCES = "sources.json"  # sha256 of every file that was ever downloaded, by model and role


@dataclass(frozen=True)
class Found:
    """Weights on this machine.

    Attributes:
        name: dolphin, vovit or vovit-s1.
        path: path to give to `checkpoint.load`.
        kind: `trained` by the project, or `released` by its authors.
        card: its card, see `avsep.models.checkpoint`.
    """

    name: str
    path: Path
    kind: str
    card: dict[str, Any]


def store_folder() -> Path:
    """The folder of released weights: `AVSEP_WEIGHTS`, else one in the data of the user."""
    if named := os.environ.get("AVSEP_WEIGHTS"):
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "avsep" / "weights"


def installed(root: Path, store: Path | None = None) -> list[Found]:
    """All weights on this machine, by name; damaged ones are left out."""
    return [found for name in MODELS for found in _of_name(name, root, store or store_folder())]


def find(name: str, root: Path, store: Path | None = None) -> Found | None:
    """The weights of a name: those the project trained, else released ones, else None."""
    return next(_of_name(name, root, store or store_folder()), None)


def _of_name(name: str, root: Path, store: Path) -> Iterator[Found]:
    places = {"trained": Workspace(root).run(name), "released": store / f"{name}.safetensors"}
    for kind, path in places.items():
        if path.exists():
            try:
                yield Found(name, path, kind, checkpoint.read_card(path))
            except CheckError:
                continue


def get(
    name: str,
    store: Path,
    *,
    base: str = "",
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Found:
    """Download released weights and turn them into a model of this project.

    Args:
        name: name of the release.
        store: folder of released weights.
        base: address of another folder with the same files; that of the authors if empty.
        advance: called with the number of bytes that have just arrived.

    Raises:
        CheckError: a file cannot be downloaded, has changed, or does not hold such weights.
        UsageError: the name is unknown, or the address is not allowed.
    """
    wanted = release(name)
    path = store / f"{name}.safetensors"
    store.mkdir(parents=True, exist_ok=True)
    known = _known(store)
    # In the store, so that a large file is never copied from one disk to another.
    with tempfile.TemporaryDirectory(prefix=".get-", dir=store) as folder:
        files = {}
        for role, part in wanted.parts.items():
            url = f"{(base or part.url).rstrip('/')}/{part.name}"
            files[role] = Path(folder) / part.name
            expected = part.sha256 or known.get(f"{name}/{role}", {}).get("sha256", "")
            found = download(url, files[role], sha256=expected, advance=advance)
            known[f"{name}/{role}"] = {"url": url, "sha256": found}
        made = Path(folder) / path.name
        spec = MODELS[name]
        assert spec.family.import_release is not None
        card = spec.family.import_release()(files, made, spec.variant)
        made.replace(path)
        made.with_suffix(".json").replace(path.with_suffix(".json"))
    write_json(store / SOURCES, known)
    return Found(name, path, "released", card)


def _known(store: Path) -> dict[str, Any]:
    path = store / SOURCES
    return read_json(path) if path.exists() else {}
