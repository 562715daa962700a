"""The weights on this machine: in the runs of a project, and in a folder of the user."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.downloading import download
from avsep.errors import CheckError, UsageError
from avsep.file_lock import wait_for_lock
from avsep.files import read_json, write_json
from avsep.models import checkpoint
from avsep.models.registry import MODELS, model_name
from avsep.weights.catalogue import release
from avsep.workspace import Workspace

TRAINED, RELEASED = "trained", "released"
SMALL_BELOW = 5_000_000  # parameters: every model of the demo size has fewer, every full one more
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SOURCES = "sources.json"  # sha256 of every file that was ever downloaded, by model and role
LOCK, LOCK_S = ".sources.lock", 60.0


@dataclass(frozen=True)
class Found:
    """Weights on this machine.

    Attributes:
        name: name to give to `--weights`.
        model: dolphin, vovit or vovit-s1.
        path: path to give to `checkpoint.load`.
        kind: `TRAINED` by the project, or `RELEASED`: downloaded or imported.
        card: its card, see `avsep.models.checkpoint`.
    """

    name: str
    model: str
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
    """All weights on this machine, in the order in which they are preferred; no damaged ones.

    The order is: models of full size that the project trained, released weights, then small models
    that the project trained (those of the demo). Within each: dolphin, vovit, vovit-s1, others; the
    weights that have the name of their model come first.
    """
    models = list(MODELS)

    def order(one: Found) -> tuple[int, int, bool, str]:
        place = models.index(one.model) if one.model in models else len(models)
        return _tier(one), place, one.name != one.model, one.name

    return sorted([*_trained(root), *_released(store or store_folder())], key=order)


def candidates(model: str | None, root: Path, store: Path | None = None) -> list[Found]:
    """The weights of a model, or of any that separates speech if None; ordered as `installed`.

    Without those that need a mean face and have none.
    """
    models = MODELS if model is None else (model,)
    found = [one for one in installed(root, store) if one.model in models]
    return [one for one in found if not lacks_mean_face(one.card)]


def find(name: str, root: Path, store: Path | None = None) -> Found | None:
    """The weights of a name: those in the store, else those that the project trained, else None."""
    named = [one for one in installed(root, store) if one.name == name]
    return next((one for one in named if one.kind == RELEASED), next(iter(named), None))


def is_small(card: Mapping[str, Any]) -> bool:
    """Whether a model has the size of the demo's, by its card."""
    return int(card.get("parameters", 0)) < SMALL_BELOW


def lacks_mean_face(card: Mapping[str, Any]) -> bool:
    """Whether a VoViT was imported without the mean face that it needs, by its card."""
    return isinstance(card.get("mean_face"), str)


def damaged(root: Path, store: Path | None = None) -> list[str]:
    """One sentence for each weights on this machine that cannot be used."""
    places = [path for _, path in _runs(root) if (path / checkpoint.CARD).exists()]
    found = []
    for path in [*places, *_files(store or store_folder())]:
        try:
            checkpoint.read_weights(path, checkpoint.read_card(path))
        except CheckError as error:
            found.append(str(error))
    return found


def path_in_store(name: str, store: Path | None = None) -> Path:
    """The file of imported or downloaded weights.

    Raises:
        UsageError: the name cannot be that of a file.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name weights: use 1 to 64 letters, digits, dots, - and _, and begin"
            " with a letter or a digit."
        )
    return (store or store_folder()) / f"{name}.safetensors"


def _tier(found: Found) -> int:
    if found.kind == RELEASED:
        return 1
    return 2 if is_small(found.card) else 0


def _trained(root: Path) -> Iterator[Found]:
    for name, path in _runs(root):
        yield from _read(name, path, TRAINED)


def _runs(root: Path) -> list[tuple[str, Path]]:
    runs = [(name, Workspace(root).run(name)) for name in MODELS]
    return [(name, path) for name, path in runs if path.exists()]


def _released(store: Path) -> Iterator[Found]:
    for path in _files(store):
        yield from _read(path.stem, path, RELEASED)


def _files(store: Path) -> list[Path]:
    return sorted(store.glob("*.safetensors"))


def _read(name: str, path: Path, kind: str) -> Iterator[Found]:
    try:
        card = checkpoint.read_card(path)
    except CheckError:
        return
    yield Found(name, model_name(card), path, kind, card)


def get(
    name: str,
    store: Path,
    *,
    base: str = "",
    advance: Callable[[int], None] = lambda _bytes: None,
) -> Found:
    """Download released weights and turn them into a model of this project.

    A file must have the sha256 of the catalogue, and the one that its server states, else that of
    the first download.

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
    path = path_in_store(name, store)
    store.mkdir(parents=True, exist_ok=True)
    known, new = _known(store), dict[str, Any]()
    # In the store, so that a large file is never copied from one disk to another.
    with tempfile.TemporaryDirectory(prefix=".get-", dir=store) as folder:
        files = {}
        for role, part in wanted.parts.items():
            url = f"{(base or part.url).rstrip('/')}/{part.name}"
            files[role] = Path(folder) / part.name
            recorded = known.get(f"{name}/{role}", {}).get("sha256", "")
            found = download(
                url, files[role], sha256=part.sha256, recorded=recorded, advance=advance
            )
            new[f"{name}/{role}"] = {"url": url, "sha256": found}
        made = Path(folder) / path.name
        spec = MODELS[name]
        assert spec.family.import_release is not None
        card = spec.family.import_release()(files, made, spec.variant)
        made.replace(path)
        made.with_suffix(".json").replace(path.with_suffix(".json"))
    with (store / LOCK).open("a") as handle:  # others may have downloaded meanwhile
        busy = f"another process writes {store / SOURCES}; try again."
        wait_for_lock(handle.fileno(), time.monotonic() + LOCK_S, lambda: busy)
        write_json(store / SOURCES, _known(store) | new)
    return Found(name, model_name(card), path, RELEASED, card)


def _known(store: Path) -> dict[str, Any]:
    path = store / SOURCES
    return read_json(path) if path.exists() else {}
