"""`avsep export`: shards and mixtures as the files that other projects read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.options import Root, project_root
from avsep.errors import UsageError
from avsep.terminal import echo


class Form(StrEnum):
    """The formats, named after the project that reads them."""

    IIANET = "iianet"
    MUSE = "muse"
    AUTO_AVSR = "auto-avsr"
    AV_HUBERT = "av-hubert"
    FOLDERS = "folders"
    HUGGINGFACE = "huggingface"


def export(
    form: Annotated[Form, typer.Argument(help="The project that will read the files.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    split: Annotated[
        list[str] | None, typer.Option(help="train, val or test; all if left out.")
    ] = None,
    train_mixtures: Annotated[
        int, typer.Option(min=0, help="Training mixtures to draw, for iianet and muse.")
    ] = 0,
    root: Root = None,
) -> None:
    """Write the shards, or the mixtures (iianet, muse), in the format of another project."""
    from avsep.exporting import auto_avsr, av_hubert, folders, huggingface, iianet, muse
    from avsep.exporting.source import ExportSource
    from avsep.files import all_or_nothing, write_bytes
    from avsep.schema import SPLITS
    from avsep.shards.manifest import CARD_NAME
    from avsep.shards.store import ShardStore
    from avsep.workspace import Workspace

    if unknown := sorted(set(split or ()) - set(SPLITS)):
        raise UsageError(f"there is no split {unknown[0]}; the splits are {', '.join(SPLITS)}.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; export into a new folder.")
    workspace = Workspace(project_root(root))
    source = ExportSource(
        store=ShardStore(workspace.shards),
        mixtures=workspace.mixtures if workspace.mixtures.is_dir() else None,
        train_mixtures=train_mixtures,
        splits=tuple(name for name in SPLITS if not split or name in split),
    )
    writers = {
        Form.IIANET: iianet,
        Form.MUSE: muse,
        Form.AUTO_AVSR: auto_avsr,
        Form.AV_HUBERT: av_hubert,
        Form.FOLDERS: folders,
        Form.HUGGINGFACE: huggingface,
    }
    with all_or_nothing(out):
        count = writers[form].export(source, out)
        card = workspace.shards / CARD_NAME
        if card.is_file():  # it says whose data this is, and under which licence
            write_bytes(out / CARD_NAME, card.read_bytes())
    echo(f"{out}: {count} {'mixtures' if form in ('iianet', 'muse') else 'samples'}.")
