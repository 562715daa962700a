"""GRID: `sN/<code>.mpg` on the disk or in `sN.zip`, with the times of the words where they are.

The folders of the alignments are partly named for other speakers. A folder belongs to the speaker
whose codes it has, since the codes of two speakers differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from avsep.corpora.config import GridConfig
from avsep.corpora.folder_splits import draw_splits
from avsep.corpora.found_file import FoundFile
from avsep.corpora.grid_names import (
    GRID_ALIGNMENT,
    GRID_CLIP,
    GRID_SPEAKERS,
    MISFILED,
    grid_gender,
    words_of,
)
from avsep.corpora.source_clip import Annotation, FileInfo, SourceClip
from avsep.corpora.speaker_list import SpeakerEntry
from avsep.corpora.zip_corpus import ZipCorpus
from avsep.errors import CheckError, ItemError, Reason, UsageError

CLIP_MS = 3000
OLD_STEPS_PER_S = 25_000  # of the older release of the alignments
SILENCE = ("sil", "sp")
_OWN_SHARE = 0.9  # of a speaker's codes, that its folder of alignments has at least


@dataclass(frozen=True, kw_only=True)
class Grid(ZipCorpus):
    """A copy of GRID.

    Attributes:
        config: settings of GRID.
    """

    name: ClassVar[str] = "grid"
    config: GridConfig

    def list_clips(self) -> list[SourceClip]:
        """The clips of the copy, sorted by clip id.

        Raises:
            UsageError: the folder does not exist or has no clips.
            CheckError: an archive is damaged, or a speaker is unknown.
        """
        found: dict[tuple[str, str], FoundFile] = {}
        for match, file in self.find(GRID_CLIP):
            if match[1] not in GRID_SPEAKERS:
                raise CheckError(f"{file.path} is of {match[1]}; GRID has s1 to s34 without s21.")
            found[match[1], match[2]] = file
        if not found:
            raise UsageError(
                f"{self.root} has no clips sN/<six characters>.mpg of GRID, extracted or in"
                " sN.zip; `avsep fetch grid` downloads them."
            )
        speakers = {s: SpeakerEntry(speaker=s, gender=grid_gender(s)) for s, _ in found}
        config = self.config
        splits = draw_splits(speakers, self.seed, config.val_share, config.test_share)
        aligned = self._find_alignments(found)
        clips = [
            self._clip(speaker, code, file, aligned.get((speaker, code)), splits[speaker])
            for (speaker, code), file in found.items()
        ]
        return sorted(clips, key=lambda clip: clip.clip_id)

    def fetch(self, clip: SourceClip) -> FileInfo:
        """Bring one clip; its text is that of its name, its times those of its alignment."""
        code = clip.origin.rpartition("/")[2]
        times: list[float] = []
        if clip.annotation_path:
            content = self.read(FoundFile(clip.annotation_path, clip.annotation_member))
            times = word_times_s(content, code)
        words = words_of(code) if times else ()
        annotation = Annotation(text=clip.text, words=words, word_times_s=tuple(times))
        return replace(self.bring(clip), annotation=annotation)

    def left_out(self) -> str:
        """Videos whose names are not those of clips."""
        return self.unknown_names(".mpg", GRID_CLIP)

    def _find_alignments(
        self, clips: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], FoundFile]:
        """The alignment of each clip, from the folder that has the codes of its speaker."""
        folders: dict[str, dict[str, FoundFile]] = defaultdict(dict)
        for match, file in self.find(GRID_ALIGNMENT):
            folders[match[1]][match[2]] = file
        if not folders:
            return {}
        codes: dict[str, set[str]] = defaultdict(set)
        for speaker, code in clips:
            codes[speaker].add(code)
        own = {speaker: folders[folder_of(speaker, codes[speaker], folders)] for speaker in codes}
        return {(s, code): own[s][code] for s, code in clips if code in own[s]}

    def _clip(
        self, speaker: str, code: str, file: FoundFile, aligned: FoundFile | None, split: str
    ) -> SourceClip:
        return SourceClip(
            clip_id=f"grid-{speaker}-{code}",
            corpus=self.name,
            speaker=f"grid-{speaker}",
            group=f"grid-{speaker}",
            gender=grid_gender(speaker),
            split=split,
            path=f"{self.name}/{speaker}/{code}.mpg",
            licence=self.config.licence,
            redistributable=True,
            text=" ".join(words_of(code)),
            source=file.path,
            fingerprint="+".join(one.fingerprint for one in (file, aligned) if one),
            origin=f"{speaker}/{code}",
            member=file.member,
            annotation_path=aligned.path if aligned else "",
            annotation_member=aligned.member if aligned else None,
        )


def folder_of(speaker: str, codes: set[str], folders: Mapping[str, Mapping[str, object]]) -> str:
    """The name of the folder that has the alignments of a speaker.

    Raises:
        CheckError: no folder has the codes of the speaker.
    """
    likely = (MISFILED.get(speaker, speaker), speaker, *sorted(folders))
    for name in likely:
        if name in folders and len(codes & folders[name].keys()) >= _OWN_SHARE * len(codes):
            return name
    raise CheckError(
        f"no folder of the alignments has the sentences of {speaker}; is the copy of them complete?"
        " Without alignments.zip and alignments/, clips have a text and no times of words."
    )


def word_times_s(content: bytes, code: str) -> list[float]:
    """Start and end of each word of a sentence, in seconds, from lines `start end word`.

    The last line ends at 3 s. The older release counts 25,000 steps per second, the newer one
    milliseconds.

    Raises:
        ItemError: the lines are not an alignment of this sentence.
    """
    rows = [
        line.split() for line in content.decode("ascii", "replace").splitlines() if line.strip()
    ]
    try:
        spans = [(int(start), int(end), word) for start, end, word in rows]
        last = spans[-1][1]
    except (ValueError, IndexError) as error:
        raise _bad(code, "lines that are not `start end word`") from error
    if any(not 0 <= start <= end for start, end, _ in spans):
        raise _bad(code, "times that run backwards")
    steps_per_s = 1000 if last <= 2 * CLIP_MS else OLD_STEPS_PER_S
    heard = [span for span in spans if span[2] not in SILENCE]
    if tuple(word for *_, word in heard) != words_of(code):
        raise _bad(code, f"the words {' '.join(word for *_, word in heard)!r}")
    return [round(time / steps_per_s, 4) for start, end, _ in heard for time in (start, end)]


def _bad(code: str, what: str) -> ItemError:
    return ItemError(Reason.BAD_ANNOTATION, f"the alignment of {code} has {what}.")
