"""What LRS2 and LRS3 have in common: `<video>/NNNNN.mp4` with its transcript in `NNNNN.txt`.

Neither may be fetched or shared; a copy is the user's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avsep.corpora import folder
from avsep.corpora.annotation_file import parse_annotation
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip, item_error
from avsep.errors import UsageError

MAX_LIST_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One clip of a copy.

    Attributes:
        below: the folder it is in, e.g. `main` or `trainval`.
        video: programme or YouTube id.
        number: five digits.
        split: `train`, `val` or `test`.
    """

    below: str
    video: str
    number: str
    split: str

    @property
    def origin(self) -> str:
        """Its name inside the corpus."""
        return f"{self.below}/{self.video}/{self.number}"


def read_list(path: Path, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Video and number of each line of a list; what follows a blank is left out.

    The test list of LRS2 has a second token on each line.

    Args:
        path: of the list.
        pattern: of the first token, whose last two groups are video and number.

    Raises:
        UsageError: missing, not text, a line that is no entry, or one that is there twice.
    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise UsageError(f"{path} is larger than {MAX_LIST_BYTES} bytes; is it a list?")
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UsageError(f"the list {path} is missing; it comes with the corpus.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read: {error}.") from error
    entries: dict[tuple[str, str], None] = {}
    for number, line in enumerate(lines, 1):
        tokens = line.split()
        if not tokens:
            continue
        if (match := pattern.fullmatch(tokens[0])) is None:
            raise UsageError(f"line {number} of {path} is {line!r}, which names no clip.")
        entry = (match.groups()[-2], match.groups()[-1])
        if entry in entries:
            raise UsageError(f"line {number} of {path} names {tokens[0]} a second time.")
        entries[entry] = None
    return list(entries)


def source_clips(
    corpus: str, root: Path, utterances: Iterable[Utterance], licence: str
) -> list[SourceClip]:
    """An clip for each utterance, whether its file is there or not, sorted by clip id."""
    made = []
    for utterance in utterances:
        source = root / f"{utterance.origin}.mp4"
        note = source.with_suffix(".txt")
        clip_id = f"{corpus}-{utterance.below}-{utterance.video}-{utterance.number}"
        person = f"{corpus}-{utterance.video}"
        digest = folder.digest_of(clip_id)  # YouTube ids may differ in case alone
        made.append(
            SourceClip(
                clip_id=clip_id,
                corpus=corpus,
                speaker=person,
                group=person,
                gender="",
                split=utterance.split,
                path=f"{corpus}/{utterance.below}/{clip_id}-{digest}.mp4",
                licence=licence,
                source=str(source),
                fingerprint=f"{folder.fingerprint_of(source)}+{folder.fingerprint_of(note)}",
                video=utterance.video,
                origin=utterance.origin,
                annotation_path=str(note),
            )
        )
    return sorted(made, key=lambda clip: clip.clip_id)


def fetch(clip: SourceClip, raw: Path) -> FileInfo:
    """Link one clip and read its transcript.

    Raises:
        ItemError: the clip or its text is missing or damaged.
    """
    try:
        text = Path(clip.annotation_path).read_bytes()
    except OSError as error:
        raise item_error(error, Path(clip.annotation_path)) from error
    note = parse_annotation(text, f"the text of {clip.origin}")
    content = folder.link(clip, raw)
    scores = dict(note.scores)
    known = [score for *_, score in note.words if math.isfinite(score)]
    if known:
        scores["asd_score"] = round(sum(known) / len(known), 6)
    annotation = Annotation(
        scores=scores,
        text=note.text,
        words=tuple(word for word, *_ in note.words),
        word_times_s=tuple(time for _, start, end, _ in note.words for time in (start, end)),
    )
    return FileInfo(content.sha256, content.size_bytes, annotation)


def same_count(corpus: str, what: str, found: int, published: Iterable[int]) -> str:
    """A sentence where a count is not a published one; empty where it is."""
    wanted = tuple(published)
    if found in wanted:
        return ""
    return f"{corpus}: {what} has {found} utterances, not {' or '.join(map(str, wanted))}"
