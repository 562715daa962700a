"""`avsep weights`: released checkpoints of others, made into models of this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from avsep.cli.weights_store import store_app
from avsep.errors import UsageError

if TYPE_CHECKING:
    from avsep.models.vovit.config import Variant

weights_app = typer.Typer(help="Released weights of others.", no_args_is_help=True)
import_app = typer.Typer(help="Make a released checkpoint a model here.", no_args_is_help=True)
weights_app.add_typer(import_app, name="import")
weights_app.add_typer(store_app)

Out = Annotated[Path, typer.Option("--out", help="A .safetensors file; its card goes beside it.")]
VARIANTS = ("speech", "speech-s1", "singing")


@import_app.command("dolphin")
def import_dolphin(
    source: Annotated[Path, typer.Argument(help="model.safetensors, or a torch file.")],
    out: Out,
) -> None:
    """Check a released Dolphin checkpoint and write it under our names, with a card."""
    from avsep.models.dolphin import released

    _say(out, released.import_dolphin(source, out))


@import_app.command("vovit")
def import_vovit(
    stage1: Annotated[Path, typer.Argument(help="The first stage's file.")],
    out: Out,
    enhancer: Annotated[
        Path | None, typer.Argument(help="The second stage's file, for speech alone.")
    ] = None,
    variant: Annotated[str, typer.Option(help=", ".join(VARIANTS))] = "speech",
    mean_face: Annotated[
        Path | None, typer.Option("--mean-face", help="The official mean face, index x y z (tsv).")
    ] = None,
) -> None:
    """Check released VoViT checkpoints and write them as one model, with a card."""
    from avsep.models.vovit import released

    if variant not in VARIANTS:
        raise UsageError(f"--variant is {variant!r}; it may be {', '.join(VARIANTS)}.")
    if variant == "speech" and enhancer is None:
        raise UsageError("the variant speech needs the enhancer's file too; or say speech-s1.")
    if variant != "speech" and enhancer is not None:
        raise UsageError(f"the variant {variant} has no enhancer; leave its file out.")
    if variant == "singing" and mean_face is not None:
        raise UsageError("a singing model registers nothing; leave --mean-face out.")
    card = released.import_vovit(
        stage1, enhancer, out, variant=cast("Variant", variant), mean_face=mean_face
    )
    if isinstance(card.get("mean_face"), str):
        typer.echo(f"Mean face: {card['mean_face']}", err=True)
    _say(out, card)


def _say(out: Path, card: dict[str, Any]) -> None:
    typer.echo(f"{out}: {card['parameters']:,} parameters, sha256 {card['sha256']}")
    typer.echo(f"{out.with_suffix('.json')}: the card. Licence of the weights: {card['licence']}")
