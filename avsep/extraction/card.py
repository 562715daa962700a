"""The data card of a set of shards: its contents, sources and licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avsep.errors import State
from avsep.files import write_text
from avsep.markdown import markdown_table
from avsep.outcome import Outcome
from avsep.schema import FPS, SPLITS, Clip
from avsep.shards.index import IndexRow
from avsep.shards.manifest import CARD_NAME, FORMAT, FORMAT_VERSION, Manifest, batch_of
from avsep.shared_speakers import shared_speakers_note


def write_card(
    directory: Path,
    manifest: Manifest,
    rows: Sequence[IndexRow],
    clips: Sequence[Clip],
    outcomes: Sequence[Outcome],
    faces_left_out: Mapping[str, int],
) -> Path:
    """Write `card.md` beside the shards; the same set gives the same text.

    Args:
        directory: folder of the set.
        manifest: manifest of the set.
        rows: rows of the set's index.
        clips: all clips that `clean` checked.
        outcomes: outcomes of `extract`, one per kept clip.
        faces_left_out: number of faces that were left out, by reason.
    """
    path = directory / CARD_NAME
    write_text(path, "\n".join(_lines(manifest, rows, clips, outcomes, faces_left_out)) + "\n")
    return path


def _lines(
    manifest: Manifest,
    rows: Sequence[IndexRow],
    clips: Sequence[Clip],
    outcomes: Sequence[Outcome],
    faces_left_out: Mapping[str, int],
) -> Iterable[str]:
    yield from ("# Data card", "")
    yield (
        f"{manifest.num_samples} samples, {_hours(rows)} hours, in {len(manifest.shards)} shards of"
        f" {manifest.size_bytes / 1e6:.1f} MB together; format `{FORMAT}` {FORMAT_VERSION},"
        f" storage `{manifest.storage}`."
    )
    yield from ("", "## What is in it", "")
    yield from _table(
        ("split", "samples", "hours", "speakers", "groups", "female", "male", "unknown"),
        [_split_row(split, [row for row in rows if row.split == split]) for split in SPLITS],
    )
    if note := shared_speakers_note((row.speaker, row.split) for row in rows):
        yield from ("", f"**Note:** {note}.")
    doubtful = sum(row.multi_voice for row in rows)
    yield from ("", f"{doubtful} samples may hold more than one voice (`multi_voice`).", "")
    yield from _table(
        ("batch", "shards", "samples", "hours"),
        [
            (
                batch,
                sum(batch_of(shard.name) == batch for shard in manifest.shards),
                len(part := [row for row in rows if batch_of(row.shard) == batch]),
                _hours(part),
            )
            for batch in sorted({batch_of(shard.name) for shard in manifest.shards})
        ],
    )
    yield from ("", "## Licences", "")
    yield from _table(("corpus", "licence", "may be passed on", "samples"), _licences(rows, clips))
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


def _split_row(split: str, rows: Sequence[IndexRow]) -> tuple[object, ...]:
    genders = Counter({row.speaker: row.gender for row in rows}.values())
    return (
        split,
        len(rows),
        _hours(rows),
        len({row.speaker for row in rows}),
        len({row.group for row in rows}),
        *(genders[gender] for gender in ("f", "m", "")),
    )


def _licences(rows: Sequence[IndexRow], clips: Sequence[Clip]) -> list[tuple[object, ...]]:
    clip_of: Mapping[str, Clip] = {clip.clip_id: clip for clip in clips}
    count = Counter(
        (clip.corpus, clip.licence or "unknown", "yes" if clip.redistributable else "no")
        for clip in (clip_of[row.clip_id] for row in rows)
    )
    return [(*key, number) for key, number in sorted(count.items())]


def _left_out(clips: Sequence[Clip], outcomes: Sequence[Outcome]) -> list[tuple[object, ...]]:
    dropped = Counter(clip.reason for clip in clips if not clip.kept)
    ended = Counter(str(o.reason) for o in outcomes if o.state is not State.DONE)
    return [
        (stage, f"`{reason}`", number)
        for stage, count in (("clean", dropped), ("extract", ended))
        for reason, number in sorted(count.items())
    ]


def _hours(rows: Sequence[IndexRow]) -> str:
    return f"{sum(row.num_frames for row in rows) / FPS / 3600:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return markdown_table(header, rows) if rows else ["Nothing."]
