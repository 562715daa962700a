"""Find leaks between lists of mixtures, and summarise the lists.

A separator that was chosen on the voices of its test looks better than it is. Each list is compared
with each other list: speakers, programmes, utterances, sounds under other names and whole mixtures.
Each list is also checked for mixtures of one speaker and for repeated mixtures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

from avsep.errors import CheckError
from avsep.mixing.external_lists import ListedMixture, ListedVoice, read_external_list
from avsep.mixing.recipes import read_recipes
from avsep.mixing.training import EARLIER_FILE, TRAINING_FILE, check_not_earlier, read_training_list
from avsep.mixing.voice_columns import Voices
from avsep.schema import RATE_HZ

Leak = Literal[
    "shared-speaker",  # between two lists
    "shared-programme",
    "shared-utterance",
    "shared-sound",  # the same sound under two names
    "shared-mixture",
    "same-speaker",  # within one mixture
    "repeated-mixture",  # within one list
]
LEAKS: tuple[Leak, ...] = get_args(Leak)
MAX_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One split: its mixtures, or the voices that mixtures are drawn from.

    Attributes:
        name: name of the split.
        mixtures: mixtures of the split; empty if they are drawn on the fly.
        pool: voices that mixtures are drawn from on the fly.
    """

    name: str
    mixtures: Sequence[ListedMixture] = ()
    pool: Iterable[ListedVoice] = ()

    def voices(self) -> Iterable[ListedVoice]:
        """All voices, each as often as it occurs."""
        yield from self.pool
        for mixture in self.mixtures:
            yield from mixture.voices


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of leak in a list, or between two.

    Attributes:
        leak: kind of the leak.
        lists: names of the list or the two lists.
        count: number of items that leak.
        examples: some of these items.
    """

    leak: Leak
    lists: tuple[str, ...]
    count: int
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """One line for the terminal."""
        where = " and ".join(self.lists)
        return f"{self.leak}: {self.count} in {where}, e.g. {', '.join(self.examples)}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What one list consists of.

    Attributes:
        name: name of the list.
        mixtures: number of mixtures.
        utterances: number of different utterances.
        speakers: number of different speakers; 0 if the corpus does not name them.
        programmes: number of different programmes.
        max_reuse: number of times that the most frequent utterance occurs.
        same_speaker: number of mixtures with two voices of one speaker (of one programme if the
            corpus does not name speakers).
        genders: number of mixtures by the genders of their voices, e.g. `fm`; `?` for unknown.
        hours: length of all mixtures; 0 if the list gives no lengths.
    """

    name: str
    mixtures: int
    utterances: int
    speakers: int
    programmes: int
    max_reuse: int
    same_speaker: int
    genders: dict[str, int] = field(default_factory=dict)
    hours: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result: one summary per list, what each two lists share, and all leaks."""

    summaries: tuple[Summary, ...]
    shared: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]


def read_listings(paths: Sequence[Path]) -> list[Listing]:
    """Read the splits of published lists, of our own `.jsonl` and `train.parquet`, or of a folder.

    Raises:
        CheckError: a list is missing, damaged or of an unknown format, or two have one name.
    """
    found: list[Listing] = []
    for path in paths:
        found += _read(path)
    names = Counter(listing.name for listing in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise CheckError(f"two lists are called {twice[0]}; rename one of the files.")
    return found


def audit(listings: Sequence[Listing], genders: Mapping[str, str] | None = None) -> Audit:
    """Compare lists with each other.

    Args:
        listings: the lists, one per split.
        genders: `f` or `m` by speaker.
    """
    findings: list[Finding] = []
    shared: dict[str, dict[str, int]] = {}
    for listing in listings:
        findings += _within(listing)
    facts = {listing.name: _ids(listing) for listing in listings}
    for one, other in combinations(listings, 2):
        both = {kind: facts[one.name][kind] & facts[other.name][kind] for kind in _KINDS}
        both["shared-sound"] = _sounds_by_other_names(one, other)
        shared[f"{one.name} & {other.name}"] = {kind: len(ids) for kind, ids in both.items()}
        findings += [
            _finding(leak, (one.name, other.name), sorted(ids)) for leak, ids in both.items() if ids
        ]
    order = {leak: number for number, leak in enumerate(LEAKS)}
    return Audit(
        summaries=tuple(_summary(listing, genders or {}) for listing in listings),
        shared=shared,
        findings=tuple(sorted(findings, key=lambda f: (order[f.leak], f.lists))),
    )


_KINDS: tuple[Leak, ...] = (
    "shared-speaker",
    "shared-programme",
    "shared-utterance",
    "shared-mixture",
)


def _ids(listing: Listing) -> dict[Leak, set[str]]:
    ids: dict[Leak, set[str]] = {kind: set() for kind in _KINDS}
    for voice in listing.voices():
        ids["shared-speaker"].add(voice.speaker)
        ids["shared-programme"].add(voice.programme)
        ids["shared-utterance"].add(voice.utterance)
    for kind in ("shared-speaker", "shared-programme"):
        ids[kind].discard("")  # not known
    ids["shared-mixture"] = {_content(mixture) for mixture in listing.mixtures}
    return ids


def _content(mixture: ListedMixture) -> str:
    return " + ".join(sorted(voice.utterance for voice in mixture.voices))


def _sounds_by_other_names(one: Listing, other: Listing) -> set[str]:
    there = {voice.sha256 for voice in other.voices()} - {""}
    names: dict[str, set[str]] = {}
    for voice in one.voices():
        if voice.sha256 in there:
            names.setdefault(voice.sha256, set()).add(voice.utterance)
    return {
        voice.utterance
        for voice in other.voices()
        if voice.sha256 in names and names[voice.sha256] != {voice.utterance}
    }


def _within(listing: Listing) -> list[Finding]:
    same = [_content(mixture) for mixture in listing.mixtures if _same_speaker(mixture)]
    times = Counter(_content(mixture) for mixture in listing.mixtures)
    repeated = sorted(content for content, count in times.items() if count > 1)
    # Our own lists may hold other windows of a pair once every pair was drawn: their ids differ.
    found: list[tuple[Leak, list[str]]] = [("same-speaker", same), ("repeated-mixture", repeated)]
    return [_finding(leak, (listing.name,), items) for leak, items in found if items]


def _same_speaker(mixture: ListedMixture) -> bool:
    who = [voice.identity for voice in mixture.voices]
    return len(set(who)) < len(who)


def _finding(leak: Leak, lists: tuple[str, ...], items: Sequence[str]) -> Finding:
    return Finding(leak=leak, lists=lists, count=len(items), examples=tuple(items[:MAX_EXAMPLES]))


def _summary(listing: Listing, genders: Mapping[str, str]) -> Summary:
    reuse: Counter[str] = Counter()
    speakers, programmes = set(), set()
    for voice in listing.voices():
        reuse[voice.utterance] += 1
        speakers.add(voice.speaker)
        programmes.add(voice.programme)
    pairs = Counter(
        "".join(sorted(_gender(voice, genders) for voice in mixture.voices))
        for mixture in listing.mixtures
    )
    seconds = sum(m.seconds for m in listing.mixtures if m.seconds == m.seconds)
    return Summary(
        name=listing.name,
        mixtures=len(listing.mixtures),
        utterances=len(reuse),
        speakers=len(speakers - {""}),
        programmes=len(programmes - {""}),
        max_reuse=max(reuse.values(), default=0),
        same_speaker=sum(_same_speaker(mixture) for mixture in listing.mixtures),
        genders=dict(sorted(pairs.items())) if set(pairs) - {"??", "???"} else {},
        hours=round(seconds / 3600, 1),
    )


def _gender(voice: ListedVoice, genders: Mapping[str, str]) -> str:
    return voice.gender or genders.get(voice.speaker) or "?"


def _read(path: Path) -> list[Listing]:
    if path.is_dir():
        check_not_earlier(path / TRAINING_FILE)
        files = [path / name for name in (TRAINING_FILE, "val.jsonl", "test.jsonl")]
        there = [file for file in files if file.is_file()]
        if not there:
            raise CheckError(f"{path} holds no {TRAINING_FILE}, val.jsonl or test.jsonl.")
        return [listing for file in there for listing in _read(file)]
    if path.name == EARLIER_FILE:
        check_not_earlier(path)
    if path.suffix == ".parquet":
        return [Listing(name=path.stem, pool=_Pool(Voices.of(read_training_list(path).voices)))]
    if path.suffix == ".jsonl":
        return [Listing(name=path.stem, mixtures=_own(path))]
    return [Listing(name=name, mixtures=m) for name, m in read_external_list(path).items()]


def _own(path: Path) -> list[ListedMixture]:
    return [
        ListedMixture(
            voices=tuple(
                ListedVoice(
                    # The key alone: two windows of one sample are the same utterance.
                    utterance=source.key,
                    speaker=source.speaker,
                    programme=_programme(source),
                    level_db=source.level_db + source.gain_db,
                    sha256=source.sha256,
                    gender=source.gender,
                )
                for source in recipe.sources
            ),
            seconds=recipe.num_samples / RATE_HZ,
        )
        for recipe in read_recipes(path)
    ]


def _programme(voice: Any) -> str:
    """The group, unless it only repeats the speaker."""
    return "" if voice.group == voice.speaker else str(voice.group)


class _Pool(Iterable[ListedVoice]):
    """The voices of training as those of a list, made one by one."""

    def __init__(self, voices: Voices) -> None:
        self._voices = voices

    def __iter__(self) -> Iterator[ListedVoice]:
        for key, speaker, group, sha256 in self._voices.rows("key", "speaker", "group", "sha256"):
            programme = "" if group == speaker else group
            yield ListedVoice(utterance=key, speaker=speaker, programme=programme, sha256=sha256)
