"""Where the weights lie that a training starts from."""

from __future__ import annotations

from pathlib import Path

from avsep.errors import CheckError
from avsep.models import checkpoint
from avsep.weights.catalogue import RELEASES
from avsep.weights.store import path_in_store

RELEASED = "released"
# Whose release holds the weights of a model that has none of its own.
_PART_OF = {"lipcoder": "dolphin", "vovit-s1": "vovit"}


def find_initial(init: str, model: str, root: Path) -> Path:
    """The model that the setting `init` names.

    Args:
        init: `released`, or a path relative to `root`: of a model's folder, card or weights.
        model: what is trained.
        root: folder of the project.

    Raises:
        CheckError: there is no such model.
    """
    if init != RELEASED:
        path = root / init
        if not path.exists():
            raise CheckError(
                f"init is {init!r}; it must be {RELEASED} or a model, and there is no {path}."
            )
        checkpoint.read_card(path)
        return path
    names = [name for name in (model, _PART_OF.get(model, model)) if name in RELEASES]
    if not names:
        raise CheckError(f"init is {RELEASED}, but nobody has released weights of {model}.")
    for name in names:
        if (path := path_in_store(name)).exists():
            return path
    raise CheckError(
        f"init is {RELEASED}, but there are no released weights of {names[0]} on this machine;"
        f" download them with `avsep weights get {names[0]}`, or import files that you have with"
        f" `avsep weights import {names[0]} FILE`."
    )
