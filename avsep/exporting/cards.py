"""Cards in the format of the Hugging Face Hub, and Croissant metadata, for a set of shards.

Source: the hub's specification of metadata in YAML at the head of README.md; the Croissant format
1.0 of MLCommons.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from avsep.errors import CheckError
from avsep.schema import FPS, SPLITS
from avsep.shards.index_table import INDEX_NAME
from avsep.shards.manifest import CARD_NAME, Manifest, read_manifest
from avsep.shards.store import ShardStore

# Beginning of our licence texts -> id of the hub.
HUB_LICENCES = {
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc0-1.0": "cc0-1.0",
    "odbl-1.0": "odbl",
    "apache-2.0": "apache-2.0",
    "mit": "mit",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TEXT_COLUMNS = ("key", "shard", "corpus", "speaker", "group", "gender", "split")
CROISSANT = "http://mlcommons.org/croissant/1.0"


@dataclass(frozen=True, kw_only=True)
class ShardSet:
    """What cards say about a set of shards.

    Attributes:
        directory: folder of the set.
        manifest: its manifest.
        licences: number of samples by (corpus, licence).
        splits: number of samples by split.
        speakers: number of speakers.
    """

    directory: Path
    manifest: Manifest
    licences: Mapping[tuple[str, str], int]
    splits: Mapping[str, int]
    speakers: int


def read_set(directory: Path) -> ShardSet:
    """Read what cards need, from the metadata of every sample.

    Raises:
        CheckError: the set is damaged, or a sample may not be passed on.
    """
    store = ShardStore(directory)
    licences: Counter[tuple[str, str]] = Counter()
    splits: Counter[str] = Counter()
    speakers = set()
    for row in store.index:
        meta = store.meta(row.key)
        if not meta.get("redistributable"):
            raise CheckError(
                f"{row.key} may not be passed on: corpus {row.corpus}, licence"
                f" {meta.get('licence') or 'unknown'}. A set with such samples is not published."
            )
        licences[row.corpus, str(meta.get("licence", ""))] += 1
        splits[row.split] += 1
        speakers.add(row.speaker)
    return ShardSet(
        directory=directory,
        manifest=read_manifest(directory),
        licences=dict(sorted(licences.items())),
        splits={split: splits[split] for split in SPLITS if splits[split]},
        speakers=len(speakers),
    )


def hub_licence(text: str) -> str:
    """The id that the hub has for one of our licence texts; `other` where it has none."""
    found = re.match(r"[A-Za-z0-9.-]+", text)
    return HUB_LICENCES.get(found[0].lower(), "other") if found else "other"


def with_yaml(head: Mapping[str, Any], body: Sequence[str]) -> str:
    """A README of the hub: YAML between two lines of dashes, then Markdown."""
    values = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)
    return f"---\n{values}---\n\n" + "\n".join(body) + "\n"


def dataset_card(of: ShardSet, title: str) -> str:
    """README.md of a set of shards: the YAML head, attribution, and the data card."""
    count = of.manifest.num_samples
    ids = sorted({hub_licence(licence) for _, licence in of.licences})
    head = {
        "pretty_name": title,
        "license": ids[0] if len(ids) == 1 else ids,
        **({"license_name": "see-attribution"} if ids == ["other"] else {}),
        "task_categories": ["audio-to-audio"],
        "tags": ["speech-separation", "audio-visual", "lip-reading", "webdataset", "avsep"],
        "size_categories": [next((name for most, name in _SIZES if count < most), "n>1M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": s, "path": f"{s}-*.tar"} for s in of.splits],
            }
        ],
    }
    body = [
        f"# {title}",
        "",
        f"{count} samples of {of.speakers} speakers, {of.manifest.num_frames / FPS / 3600:.2f}"
        " hours: mouths, landmarks and sound of talking faces, as WebDataset shards of avsep"
        ' (`from avsep.shards import open_shards`).',
        "",
        "## Attribution and licences",
        "",
        *(f"- {corpus}: {licence or 'unknown'} ({n} samples)" for (corpus, licence), n in
          of.licences.items()),
    ]  # fmt: skip
    card = of.directory / CARD_NAME
    if card.is_file():
        # Its heading goes one level down, under that of this page.
        text = re.sub(r"(?m)^#", "##", card.read_text("utf-8"))
        body += ["", text.rstrip()]
    return with_yaml(head, body)


def croissant(of: ShardSet, title: str, url: str) -> dict[str, Any]:
    """Croissant metadata of a set of shards: its files with their hashes, and its index.

    Args:
        of: the set.
        title: name of the set.
        url: address of the folder that the files will be in.
    """
    manifest = of.manifest
    licences = sorted({licence for _, licence in of.licences})
    index = {
        "@type": "cr:FileObject",
        "@id": INDEX_NAME,
        "name": INDEX_NAME,
        "contentUrl": f"{url}/{INDEX_NAME}",
        "encodingFormat": "application/x-parquet",
        "sha256": manifest.index_sha256,
    }
    shards = [
        {
            "@type": "cr:FileObject",
            "@id": shard.name,
            "name": shard.name,
            "contentUrl": f"{url}/{shard.name}",
            "contentSize": f"{shard.size_bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.sha256,
        }
        for shard in manifest.shards
    ]
    kinds = dict.fromkeys(_TEXT_COLUMNS, "sc:Text") | {"num_frames": "sc:Integer"}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"samples/{name}",
            "name": name,
            "dataType": kind,
            "source": {"fileObject": {"@id": INDEX_NAME}, "extract": {"column": name}},
        }
        for name, kind in kinds.items()
    ]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": title,
        "description": f"{manifest.num_samples} samples of talking faces: mouths, landmarks and"
        " sound, as WebDataset shards of avsep.",
        "conformsTo": CROISSANT,
        "license": licences if len(licences) > 1 else (licences or ["unknown"])[0],
        "creditText": "; ".join(f"{corpus}: {text}" for corpus, text in of.licences),
        "url": url,
        "version": "1.0.0",
        "distribution": [index, *shards],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "samples", "name": "samples", "field": fields}
        ],
    }


_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
