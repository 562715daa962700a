"""What LRS2 and LRS3 share: `<video>/NNNNN.mp4` with its transcript in `NNNNN.txt`.

Neither may be downloaded or passed on here; the copy is the user's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from avsep.corpora.annotation_file import MAX_BYTES, parse_annotation
from avsep.corpora.ids import short_hash
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.corpora.source_files import fingerprint_of, link, read_bytes, read_list
from avsep.errors import CheckError, UsageError

MAX_LIST_BYTES = 64 << 20

Entry = tuple[str, str]
"""Video and number of a clip."""


def find_root(corpus: str, candidates: Iterable[Path], parts: tuple[str, ...]) -> Path:
    """The first of some folders that holds one of the parts of a corpus.

    Raises:
        UsageError: none of them does.
    """
    candidates = list(candidates)
    for root in candidates:
        if any((root / part).is_dir() for part in parts):
            return root
    raise UsageError(
        f"{candidates[0]} has no folder {' or '.join(parts)}; is it a copy of {corpus.upper()}?"
    )


def check_counts(
    corpus: str, counts: Mapping[str, int], published: Mapping[str, tuple[int, ...]]
) -> None:
    """Pass if each list or part has as many utterances as were published.

    Raises:
        CheckError: one has another number.
    """
    wrong = [
        f"{corpus}: {name} has {count} utterances, not {' or '.join(map(str, published[name]))}"
        for name, count in counts.items()
        if count not in published[name]
    ]
    if wrong:
        raise CheckError(
            f"{'; '.join(wrong)}; the copy is incomplete. Set download.{corpus}.check_counts to"
            " false to use it as it is."
        )


def read_entries(path: Path, pattern: re.Pattern[str]) -> list[Entry]:
    """Video and number in each line of a list.

    Only the first word of a line counts: the test list of LRS2 has a second one on each line.

    Args:
        path: path of the list.
        pattern: pattern of the first word; its last two groups are video and number.

    Raises:
        UsageError: the list is missing or not text, or has a line that does not match or that
            repeats another.
    """
    entries: dict[Entry, None] = {}
    for number, line in enumerate(read_list(path, MAX_LIST_BYTES).split("\n"), 1):
        words = line.split()
        if not words:
            continue
        if (match := pattern.fullmatch(words[0])) is None:
            raise UsageError(f"line {number} of {path} is {line!r}, which does not name a clip.")
        entry = (match.groups()[-2], match.groups()[-1])
        if entry in entries:
            raise UsageError(f"line {number} of {path} names {words[0]} a second time.")
        entries[entry] = None
    return list(entries)


def source_clip(
    corpus: str, root: Path, folder: str, entry: Entry, *, split: str, licence: str
) -> SourceClip:
    """One clip, whether its file exists or not.

    Args:
        corpus: `lrs2` or `lrs3`.
        root: the folder of the copy.
        folder: the folder in `root`, e.g. `main` or `trainval`.
        entry: video and number of the clip.
        split: `train`, `val` or `test`.
        licence: text stored with the clip.
    """
    video, number = entry
    source = root / folder / video / f"{number}.mp4"
    text = source.with_suffix(".txt")
    clip_id = f"{corpus}-{folder}-{video}-{number}"
    return SourceClip(
        clip_id=clip_id,
        corpus=corpus,
        speaker=f"{corpus}-{video}",
        group=f"{corpus}-{video}",
        gender="",
        split=split,
        # YouTube ids may differ in case only, so the file name needs a hash.
        path=f"{corpus}/{folder}/{clip_id}-{short_hash(clip_id)}.mp4",
        licence=licence,
        source=str(source),
        fingerprint=f"{fingerprint_of(source)}+{fingerprint_of(text)}",
        video=video,
        origin=f"{folder}/{video}/{number}",
        annotation_path=str(text),
    )


def fetch(clip: SourceClip, raw: Path) -> FileInfo:
    """Link one clip and read its transcript.

    Raises:
        ItemError: the clip or its transcript is missing or damaged.
    """
    content = read_bytes(Path(clip.annotation_path), MAX_BYTES)
    file = parse_annotation(content, f"the transcript of {clip.origin}")
    info = link(clip, raw)
    scores = dict(file.scores)
    known = [score for *_, score in file.words if math.isfinite(score)]
    if known:
        scores["asd_score"] = round(sum(known) / len(known), 6)
    annotation = Annotation(
        scores=scores,
        text=file.text,
        words=tuple(word for word, *_ in file.words),
        word_times_s=tuple(time for _, start, end, _ in file.words for time in (start, end)),
    )
    return replace(info, annotation=annotation)
