"""`avsep audit`: find leaks between lists of mixtures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.errors import CheckError, UsageError
from avsep.terminal import cell, echo

if TYPE_CHECKING:
    from avsep.mixing.audit import Audit


def audit(
    lists: Annotated[
        list[Path],
        typer.Argument(help="Published .scp or .csv (or .gz), our .jsonl, or data/mixtures."),
    ],
    speakers: Annotated[
        Path | None, typer.Option(help="vox2_meta.csv, for the genders of the speakers.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="A kind of leak to accept; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare lists of mixtures; exit with 1 if one leaks into another."""
    from avsep.files import dump_json
    from avsep.mixing import audit as library
    from avsep.mixing.external_lists import read_genders
    from avsep.settings import as_values

    if unknown := sorted(set(allow or ()) - set(library.LEAKS)):
        raise UsageError(
            f"there is no leak called {unknown[0]}; the leaks are {', '.join(library.LEAKS)}."
        )
    genders, sets = read_genders(speakers) if speakers else ({}, {})
    listings = library.read_listings(lists)
    result = library.audit(listings, genders)
    if as_json:
        echo(dump_json(as_values(result)))
    else:
        _show(result)
        if sets:
            heard = {voice.speaker for listing in listings for voice in listing.voices()}
            test = {speaker for speaker, part in sets.items() if part == "test"}
            echo(
                f"{speakers}: {len(sets)} speakers, {len(test)} of them in the test set;"
                f" {len(test - heard)} of these are in none of the lists."
            )
    leaks = [finding for finding in result.findings if finding.leak not in (allow or ())]
    for finding in leaks:
        echo(finding.sentence(), err=True)
    if leaks:
        raise CheckError(f"{len(leaks)} leak(s) found.")


def _show(result: Audit) -> None:
    from dataclasses import fields

    from rich.console import Console
    from rich.table import Table

    from avsep.mixing.audit import Summary

    # One column per list: there are few lists and many figures.
    table = Table("", *(cell(summary.name) for summary in result.summaries))
    for field in fields(Summary):
        if field.name != "name":
            values = [getattr(summary, field.name) for summary in result.summaries]
            table.add_row(field.name.replace("_", " "), *(cell(_figure(value)) for value in values))
    console = Console()
    console.print(table)
    for pair, counts in result.shared.items():
        said = ", ".join(
            f"{count} {kind.removeprefix('shared-')}s" for kind, count in counts.items()
        )
        console.print(cell(f"{pair} share {said}."), soft_wrap=True)


def _figure(value: object) -> str:
    """A figure, or the pairs of a dict."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return str(value)
