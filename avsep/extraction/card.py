"""The data card of a set of shards: its contents, sources and licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from avsep.errors import State
from avsep.files import write_text
from avsep.markdown import markdown_table
from avsep.outcome import Outcome
from avsep.schema import FPS, SPLITS, Clip
from avsep.shards.index import Index
from avsep.shards.manifest import CARD_NAME, FORMAT, FORMAT_VERSION, Manifest, batch_of
from avsep.shared_speakers import shared_speakers_note
from avsep.tables import Rows


def write_card(
    directory: Path,
    manifest: Manifest,
    index: Index,
    clips: Rows[Clip],
    outcomes: Sequence[Outcome],
    faces_left_out: Mapping[str, int],
) -> Path:
    """Write `card.md` beside the shards; the same set gives the same text.

    Args:
        directory: folder of the set.
        manifest: manifest of the set.
        index: index of the set.
        clips: all clips that `clean` checked.
        outcomes: outcomes of `extract`, one per kept clip.
        faces_left_out: number of faces that were left out, by reason.
    """
    path = directory / CARD_NAME
    write_text(path, "\n".join(_lines(manifest, index, clips, outcomes, faces_left_out)) + "\n")
    return path


def _lines(
    manifest: Manifest,
    index: Index,
    clips: Rows[Clip],
    outcomes: Sequence[Outcome],
    faces_left_out: Mapping[str, int],
) -> Iterable[str]:
    yield from ("# Data card", "")
    yield (
        f"{manifest.num_samples} samples, {_hours(manifest.num_frames)} hours, in"
        f" {len(manifest.shards)} shards of {manifest.size_bytes / 1e6:.1f} MB together; format"
        f" `{FORMAT}` {FORMAT_VERSION}, storage `{manifest.storage}`."
    )
    yield from ("", "## What is in it", "")
    yield from _table(
        ("split", "samples", "hours", "speakers", "groups", "female", "male", "unknown"),
        [_split_row(split, index) for split in SPLITS],
    )
    if note := shared_speakers_note(_speakers_and_splits(index)):
        yield from ("", f"**Note:** {note}.")
    doubtful = int(index.column("multi_voice").sum())
    yield from ("", f"{doubtful} samples may hold more than one voice (`multi_voice`).", "")
    yield from _table(
        ("batch", "shards", "samples", "hours"),
        [
            (
                batch,
                len(shards := [s for s in manifest.shards if batch_of(s.name) == batch]),
                sum(shard.num_samples for shard in shards),
                _hours(sum(shard.num_frames for shard in shards)),
            )
            for batch in sorted({batch_of(shard.name) for shard in manifest.shards})
        ],
    )
    yield from ("", "## Licences", "")
    yield from _table(("corpus", "licence", "may be passed on", "samples"), _licences(index, clips))
    yield from ("", "## What was left out", "")
    yield from _table(("stage", "reason", "clips"), _left_out(clips, outcomes))
    for reason, number in sorted(faces_left_out.items()):
        yield from ("", f"Faces beside these that were left out as `{reason}`: {number}.")
    yield from ("", "## Made with", "")
    yield from _table(("tool", "version"), sorted(manifest.tools.items()))
    yield from ("", "## Hashes", "", f"Settings `{manifest.settings}`; sha256 of", "")
    hashes = [("index.parquet", manifest.index_sha256)]
    hashes += [(shard.name, shard.sha256) for shard in manifest.shards]
    yield from _table(("file", "sha256"), [(name, f"`{value}`") for name, value in hashes])


def _speakers_and_splits(index: Index) -> Iterator[tuple[str, str]]:
    (speakers, names), (splits, split_names) = index.codes("speaker"), index.codes("split")
    for speaker, split in np.unique(np.stack([speakers, splits], axis=1), axis=0).tolist():
        yield names[speaker], split_names[split]


def _split_row(split: str, index: Index) -> tuple[object, ...]:
    rows = index.positions("split", split)
    speakers, genders = (index.codes(name)[0][rows] for name in ("speaker", "gender"))
    # What the last sample says of a speaker counts.
    one_each = np.unique(speakers[::-1], return_index=True)[1]
    names = index.codes("gender")[1]
    count = Counter(names[code] for code in genders[::-1][one_each].tolist())
    return (
        split,
        len(rows),
        _hours(int(index.column("num_frames")[rows].sum())),
        len(one_each),
        len(np.unique(index.codes("group")[0][rows])),
        *(count[gender] for gender in ("f", "m", "")),
    )


def _licences(index: Index, clips: Rows[Clip]) -> list[tuple[object, ...]]:
    import pyarrow.compute as pc

    ids = clips.column("clip_id").combine_chunks()
    rows = pc.index_in(index.texts("clip_id"), ids)
    columns = ["corpus", "licence", "redistributable"]
    taken = clips.table.select(columns).take(rows)
    count: Counter[tuple[str, str, str]] = Counter()
    for row in taken.group_by(columns).aggregate([([], "count_all")]).to_pylist():
        passed_on = "yes" if row["redistributable"] else "no"
        count[row["corpus"], row["licence"] or "unknown", passed_on] += row["count_all"]
    return [(*key, number) for key, number in sorted(count.items())]


def _left_out(clips: Rows[Clip], outcomes: Sequence[Outcome]) -> list[tuple[object, ...]]:
    dropped = Counter(reason for reason, kept in clips.tuples("reason", "kept") if not kept)
    ended = Counter(str(o.reason) for o in outcomes if o.state is not State.DONE)
    return [
        (stage, f"`{reason}`", number)
        for stage, count in (("clean", dropped), ("extract", ended))
        for reason, number in sorted(count.items())
    ]


def _hours(num_frames: int) -> str:
    return f"{num_frames / FPS / 3600:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return markdown_table(header, rows) if rows else ["Nothing."]
