"""`avsep weights`: list, download and import weights that other projects released."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from avsep.cli.options import Root, project_root
from avsep.errors import CheckError, UsageError
from avsep.terminal import cell, echo

weights_app = typer.Typer(help="Weights that other projects released.", no_args_is_help=True)
import_app = typer.Typer(
    help="Turn a released checkpoint into a model of this project.", no_args_is_help=True
)
weights_app.add_typer(import_app, name="import")

Name = Annotated[
    str | None,
    typer.Option("--name", help="Name for `--weights`; that of the model if left out."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="A .safetensors file to write instead of the place of `weights list`."
    ),
]


class Variant(StrEnum):
    """The variants of VoViT that were released."""

    SPEECH = "speech"
    SPEECH_S1 = "speech-s1"
    SINGING = "singing"


_VOVIT_NAMES = {
    Variant.SPEECH: "vovit",
    Variant.SPEECH_S1: "vovit-s1",
    Variant.SINGING: "vovit-singing",
}


@weights_app.command("list")
def list_weights(root: Root = None) -> None:
    """List the weights on this machine, preferred ones first, and those to download."""
    from rich.console import Console
    from rich.table import Table

    from avsep.separation.resolve_model import note_on, spelt
    from avsep.weights.catalogue import RELEASES
    from avsep.weights.store import candidates, damaged, installed, store_folder

    project = project_root(root)
    found = installed(project)
    table = Table("--weights", "model", "kind", "parameters", "what to know")
    for weights in found:
        count = f"{int(weights.card.get('parameters', 0)):,}"
        here = spelt(weights)
        values = (here, weights.model, weights.kind, count, note_on(weights.card))
        table.add_row(*map(cell, values))
    names = {weights.name for weights in found if weights.kind == "released"}
    for name, release in RELEASES.items():
        if name not in names:
            how = f"{release.title}: avsep weights get {name}"
            table.add_row(name, name, "to fetch", "", how)
    Console().print(table)
    echo(f"Released weights are in {store_folder()}.")
    for sentence in damaged(project):
        echo(f"avsep: not usable: {sentence}", err=True)
    if used := candidates(None, project):
        echo(f"`avsep separate` uses {spelt(used[0])} unless --weights names others.")


@weights_app.command("get")
def get_weights(
    name: Annotated[str, typer.Argument(help="dolphin, vovit or vovit-s1.")],
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the terms without asking.")] = False,
    base: Annotated[
        str, typer.Option("--from", help="Address of a folder with the same files.")
    ] = "",
) -> None:
    """Show the terms of released weights, ask for agreement, and download them."""
    from avsep.progress import show_progress
    from avsep.weights.catalogue import release
    from avsep.weights.store import get, store_folder

    wanted = release(name)
    echo(f"{wanted.title}\nTerms: {wanted.terms}", err=True)
    for part in wanted.parts.values():
        echo(f"  {(base or part.url).rstrip('/')}/{part.name}", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask on; agree to the terms with --yes.")
        if not typer.confirm("Download these files under these terms?", err=True):
            raise CheckError("the terms were declined, so nothing was downloaded.")
    with show_progress(f"bytes of {name}", 0) as advance:
        found = get(name, store_folder(), base=base, advance=advance)
    echo(f"{found.path}: {found.card['parameters']:,} parameters")
    echo(f"Use them: avsep separate VIDEO --weights {found.name}")
    for source in found.card["source"]:
        echo(f"{source['part']}\t{source['name']}\tsha256 {source['sha256']}")


@import_app.command("dolphin")
def import_dolphin(
    source: Annotated[Path, typer.Argument(help="model.safetensors, or a torch file.")],
    name: Name = None,
    out: Out = None,
) -> None:
    """Check a released Dolphin checkpoint and write it as a model with a card."""
    from avsep.models.dolphin import released

    path = _target(name, out, "dolphin")
    _report(path, released.import_dolphin(source, path), stored=out is None)


@import_app.command("vovit")
def import_vovit(
    stage1: Annotated[Path, typer.Argument(help="The file of the first stage.")],
    enhancer: Annotated[
        Path | None, typer.Argument(help="The file of the second stage; for speech only.")
    ] = None,
    variant: Annotated[Variant, typer.Option(help="Which model it is.")] = Variant.SPEECH,
    mean_face: Annotated[
        Path | None,
        typer.Option("--mean-face", help="The official mean face: a TSV file of index x y z."),
    ] = None,
    name: Name = None,
    out: Out = None,
) -> None:
    """Check released VoViT checkpoints and write them as one model with a card."""
    from avsep.models.vovit import released

    if variant == "speech" and enhancer is None:
        raise UsageError("the variant speech needs the enhancer's file too; or choose speech-s1.")
    if variant != "speech" and enhancer is not None:
        raise UsageError(f"the variant {variant} has no enhancer; leave its file out.")
    if variant == "singing" and mean_face is not None:
        raise UsageError("the variant singing uses no mean face; leave --mean-face out.")
    path = _target(name, out, _VOVIT_NAMES[variant])
    card = released.import_vovit(stage1, enhancer, path, variant=variant.value, mean_face=mean_face)
    if isinstance(card.get("mean_face"), str):
        echo(f"Mean face: {card['mean_face']}", err=True)
    _report(path, card, stored=out is None)


def _target(name: str | None, out: Path | None, default: str) -> Path:
    """Where imported weights are written: a place of the store, or a file that is named."""
    from avsep.weights.store import path_in_store

    if name is not None and out is not None:
        raise UsageError("--name and --out name two places; leave one of them out.")
    return out or path_in_store(name or default)


def _report(out: Path, card: dict[str, Any], *, stored: bool) -> None:
    echo(f"{out}: {card['parameters']:,} parameters, sha256 {card['sha256']}")
    echo(f"{out.with_suffix('.json')}: the card. Licence of the weights: {card['licence']}")
    echo(f"Use it: avsep separate VIDEO --weights {out.stem if stored else out}")
