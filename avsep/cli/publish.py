"""`avsep publish`: a folder of shards or of a model as a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.options import Root, project_root
from avsep.errors import CheckError, UsageError
from avsep.terminal import echo

if TYPE_CHECKING:
    from avsep.workspace import Workspace

SHARDS = "shards"


def publish(
    what: Annotated[str, typer.Argument(help="shards, or the name of a trained model.")],
    repository: Annotated[str, typer.Argument(help="<owner>/<name> on the hub.")],
    out: Annotated[
        Path | None, typer.Option(help="A new or empty folder to prepare the repository in.")
    ] = None,
    title: Annotated[
        str, typer.Option(help="Title of the cards; the repository if left out.")
    ] = "",
    dry_run: Annotated[bool, typer.Option(help="Only show what would be published.")] = False,
    root: Root = None,
) -> None:
    """Prepare a repository of the hub: the files, README.md with its YAML head, and Croissant.

    Nothing is uploaded. A set with samples that may not be passed on is refused.
    """
    from avsep.files import dump_json, link_or_copy, write_text
    from avsep.workspace import Workspace

    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UsageError(f"{repository} is not of the form <owner>/<name>.")
    if not dry_run and out is None:
        raise UsageError("name a folder with --out, or add --dry-run.")
    if out is not None and out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; prepare the repository in a new folder.")
    workspace = Workspace(project_root(root))
    title = title or repository.partition("/")[2]
    texts: dict[str, str] = {}
    if what == SHARDS:
        from avsep.exporting.cards import croissant, dataset_card, read_set
        from avsep.shards.index_table import ARROW_NAME, INDEX_NAME
        from avsep.shards.manifest import CARD_NAME, MANIFEST_NAME

        found = read_set(workspace.shards)
        url = f"https://huggingface.co/datasets/{repository}/resolve/main"
        texts["README.md"] = dataset_card(found, title)
        texts["croissant.json"] = dump_json(croissant(found, title, url)) + "\n"
        # What else lies in the folder is not the set's.
        of_set = {MANIFEST_NAME, INDEX_NAME, ARROW_NAME, CARD_NAME}
        of_set |= {shard.name for shard in found.manifest.shards}
        files = [path for path in sorted(workspace.shards.iterdir()) if path.name in of_set]
        kind = "dataset"
    else:
        texts["README.md"], files = _model(what, repository, workspace)
        kind = "model"
    for path in files:
        echo(f"{path.stat().st_size:>12}  {path.name}")
    for name, text in texts.items():
        echo(f"{len(text.encode()):>12}  {name}")
    if dry_run:
        echo(texts["README.md"].partition("\n# ")[0])
        echo("Nothing was written: this is a dry run.")
        return
    assert out is not None
    for path in files:
        link_or_copy(path, out / path.name)
    for name, text in texts.items():
        write_text(out / name, text)
    echo(f"hf upload --repo-type {kind} {repository} {out}")


def _model(name: str, repository: str, workspace: Workspace) -> tuple[str, list[Path]]:
    """The README of a trained model, and its files."""
    from avsep.exporting.cards import with_yaml
    from avsep.files import read_json
    from avsep.models import checkpoint
    from avsep.models.registry import MODELS
    from avsep.shards.store import ShardStore
    from avsep.weights.pretrained import hub_body, hub_head

    if name not in MODELS:
        raise UsageError(f"{name!r} cannot be published; name shards, {', '.join(MODELS)}.")
    run = workspace.run(name)
    card = checkpoint.read_card(run)
    weights = run / str(card["weights"])
    if not weights.is_file():
        raise CheckError(f"{weights} is missing; train the model again.")
    store = ShardStore(workspace.shards)
    data = {}
    for row in store.index:
        if row.corpus not in data:
            data[row.corpus] = str(store.meta(row.key).get("licence", ""))
    metrics = workspace.evaluation(name) / "metrics.json"
    head = hub_head(card, read_json(metrics) if metrics.is_file() else {}, data)
    return with_yaml(head, hub_body(card, data, repository)), [run / checkpoint.CARD, weights]
