"""What became of one clip in every stage, why, and where its files are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avsep.errors import State, UsageError
from avsep.mixing.recipes import read_recipes
from avsep.outcome import Outcome
from avsep.schema import Clip, RawClip
from avsep.shards.index import INDEX_NAME, IndexRow, read_index
from avsep.tables import open_rows, read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger

BY_CLIP = ("download", "clean", "extract")  # stages whose items are clips
SHOWN = 5  # clips that an error names where several fit

T = TypeVar("T")

_SAMPLE = re.compile(r"-t\d+\Z")  # what a sample key adds to the id of its clip


@dataclass(frozen=True)
class StageEntry:
    """What one stage did with a clip or one of its samples.

    Attributes:
        stage: name of the stage.
        item: id of the clip, key of the sample, or name of the model.
        state: done, dropped, failed, or `not reached`.
        why: the reason and a sentence; what was made if it is done.
        file: where the result is; empty if there is none.
    """

    stage: str
    item: str
    state: str
    why: str = ""
    file: str = ""


@dataclass(frozen=True)
class ClipHistory:
    """All that is known about one clip.

    Attributes:
        clip_id: id of the clip.
        source: path of the file that it comes from; empty if unknown.
        facts: further facts by name.
        entries: what each stage did, in order.
    """

    clip_id: str
    source: str
    facts: Mapping[str, str]
    entries: tuple[StageEntry, ...]


def clip_of(item: str) -> str:
    """The id of the clip of an item: a clip id, or the key of a sample."""
    return _SAMPLE.sub("", item)


class SourcePaths:
    """The path of the file that each clip comes from.

    A clip that was rendered or downloaded has its raw file; of one that could not be downloaded
    nothing is known.
    """

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        """Read what the ledger and the table of raw clips know."""
        self._raw = workspace.raw
        table = workspace.raw_table
        rows = open_rows(table, RawClip).tuples("clip_id", "path") if table.is_file() else ()
        self._in_raw: dict[str, str] = dict(rows)
        self._known = dict(ledger.paths("download"))

    def __call__(self, clip_id: str) -> str:
        """The path for a clip; empty where it is not known."""
        if clip_id in self._known:
            return self._known[clip_id]
        return _linked(self._raw / self._in_raw[clip_id]) if clip_id in self._in_raw else ""


def find_clip(wanted: str, workspace: Workspace, ledger: Ledger) -> str:
    """The id of the clip that is meant.

    Args:
        wanted: id of a clip, key of a sample, path of the file it comes from (or the end of that
            path), its path below `data/raw`, its name in the corpus, or the id of its video.
        workspace: the project's folders.
        ledger: the ledger of the project.

    Raises:
        UsageError: there is no such clip, or there are several.
    """
    outcomes = ledger.outcomes("download")
    raw = {row.clip_id: row for row in _raw_rows(workspace)}
    ids = outcomes.keys() | raw.keys() | ledger.outcomes("clean").keys()
    for name in (wanted, clip_of(wanted)):
        if name in ids:
            return name
    source_of = SourcePaths(workspace, ledger)
    path = os.path.normpath(Path().absolute() / wanted)
    names = {item: [source_of(item)] for item in ids}
    for item, row in raw.items():
        names[item] += [str(workspace.raw / row.path), row.origin, row.video]
    for item, outcome in outcomes.items():
        names[item].append(outcome.source)
    exact = {wanted, path, os.path.realpath(path)}
    found = [item for item in sorted(ids) if not exact.isdisjoint(names[item])]
    end = f"/{wanted.removeprefix('./').lstrip('/')}"
    found = found or [i for i in sorted(ids) if any(name.endswith(end) for name in names[i])]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{wanted!r} fits {len(found)} clips; name one of them, for example"
            f" {', '.join(found[:SHOWN])}."
        )
    raise UsageError(
        f"the ledger has no clip {wanted!r}; give the id of a clip or the path of its file. A file"
        " that `download` does not take for a video is in no list."
    )


def clip_history(clip_id: str, workspace: Workspace, ledger: Ledger) -> ClipHistory:
    """What every stage did with a clip.

    Raises:
        CheckError: a table of the project is damaged.
    """
    raw = next((row for row in _raw_rows(workspace) if row.clip_id == clip_id), None)
    facts = {}
    if raw is not None:
        facts = {
            "speaker": raw.speaker,
            "split": raw.split,
            "name in the corpus": raw.origin,
            "video": raw.video,
            "sha256": raw.sha256,
        }
    return ClipHistory(
        clip_id=clip_id,
        source=SourcePaths(workspace, ledger)(clip_id),
        facts={name: value for name, value in facts.items() if value},
        entries=tuple(_entries(clip_id, raw, workspace, ledger)),
    )


def _entries(
    clip_id: str, raw: RawClip | None, workspace: Workspace, ledger: Ledger
) -> Iterator[StageEntry]:
    samples = {row.key: row for row in _index(workspace) if row.clip_id == clip_id}
    for stage in BY_CLIP:
        outcome = ledger.outcomes(stage).get(clip_id)
        if outcome is None:
            yield StageEntry(stage, clip_id, "not reached")
        elif outcome.state is not State.DONE:
            yield _ended(stage, clip_id, outcome)
        elif stage == "download":
            file = workspace.raw / raw.path if raw else None
            missing = file is not None and not file.is_file()
            yield StageEntry(
                stage, clip_id, "done", "its file is missing now" if missing else "", _text(file)
            )
        elif stage == "clean":
            yield _cleaned(clip_id, workspace)
        else:
            for key, row in samples.items():
                why = f"{row.duration_s:.1f} s" + (", several voices" if row.multi_voice else "")
                yield StageEntry(stage, key, "done", why, _text(workspace.shards / row.shard))
            if not samples:
                yield StageEntry(stage, clip_id, "done", "no sample is in the shards now")
    yield from _mixed(clip_id, samples, workspace, ledger)


def _cleaned(clip_id: str, workspace: Workspace) -> StageEntry:
    table = workspace.clips / "clips.parquet"
    clip = next((c for c in _rows(table, Clip) if c.clip_id == clip_id), None)
    if clip is None:
        return StageEntry("clean", clip_id, "done")
    why = (
        f"{clip.start_s:.2f} to {clip.end_s:.2f} s, {clip.width}x{clip.height},"
        f" {clip.fps:g} frames per second"
    )
    return StageEntry("clean", clip_id, "done", why, _text(table))


def _mixed(
    clip_id: str, samples: Iterable[str], workspace: Workspace, ledger: Ledger
) -> Iterator[StageEntry]:
    """How its samples were measured, which lists they are in, and how these were evaluated."""
    measured = {i: o for i, o in ledger.outcomes("mix").items() if clip_of(i) == clip_id}
    keys = sorted({*measured, *samples})
    if not keys:
        yield StageEntry("mix", clip_id, "not reached")
        return
    paths = [workspace.mixtures / f"{split}.jsonl" for split in ("val", "test")]
    lists = {path.name: read_recipes(path) for path in paths if path.is_file()}
    mixtures: set[str] = set()
    for key in keys:
        outcome = measured.get(key)
        if outcome is None:
            yield StageEntry("mix", key, "not reached")
        elif outcome.state is not State.DONE:
            yield _ended("mix", key, outcome)
        else:
            found = {
                name: {r.mixture_id for r in recipes if any(s.key == key for s in r.sources)}
                for name, recipes in lists.items()
            }
            mixtures.update(*found.values())
            why = ", ".join(f"in {len(ids)} mixtures of {n}" for n, ids in found.items() if ids)
            yield StageEntry("mix", key, "done", why, _text(workspace.mixtures) if why else "")
    by_model: dict[str, list[Outcome]] = {}
    for item, outcome in ledger.outcomes("evaluate").items():
        model, _, mixture = item.partition(":")
        if mixture in mixtures:
            by_model.setdefault(model, []).append(outcome)
    for model, ended in by_model.items():
        wrong = [outcome for outcome in ended if outcome.state is not State.DONE]
        why = f"{len(ended) - len(wrong)} of {len(ended)} mixtures"
        if wrong:
            why += f"; {wrong[0].reason}: {wrong[0].message}"
        state = str(wrong[0].state) if wrong else "done"
        yield StageEntry("evaluate", model, state, why, _text(workspace.evaluation(model)))


def _ended(stage: str, item: str, outcome: Outcome) -> StageEntry:
    return StageEntry(stage, item, str(outcome.state), f"{outcome.reason}: {outcome.message}")


def _index(workspace: Workspace) -> Sequence[IndexRow]:
    return read_index(workspace.shards) if (workspace.shards / INDEX_NAME).is_file() else []


def _raw_rows(workspace: Workspace) -> list[RawClip]:
    return _rows(workspace.raw_table, RawClip)


def _rows(path: Path, cls: type[T]) -> list[T]:
    return read_rows(path, cls) if path.is_file() else []


def _linked(path: Path) -> str:
    """The target of a link into the corpus; other files are their own source."""
    return str(path.readlink() if path.is_symlink() else path)


def _text(path: Path | None) -> str:
    return str(path) if path else ""
