"""For AV-HuBERT: `<split>.tsv` and `<split>.wrd`, with mouths as mp4 and sound as wav.

The first line of the tsv is the root folder of the videos. Each further line has an id, the path of
the video below the root, the absolute path of the wav, the number of frames and the number of
samples. The wrd has the words of the same utterances in lower case, one utterance per line. The
splits are called train, valid and test.
"""

from __future__ import annotations

from pathlib import Path

from avsep.exporting.source import ExportSource
from avsep.files import inside, write_bytes, write_text
from avsep.media.pcm import encode_wav
from avsep.schema import SAMPLES_PER_FRAME

NAMES = {"train": "train", "val": "valid", "test": "test"}


def export(source: ExportSource, out: Path) -> int:
    """Write the form; returns the number of samples."""
    root, count = out.resolve(), 0
    for split in source.splits:
        lines, words = [f"{root}\n"], []
        for row in source.rows(split):
            video = inside(root, "video", split, f"{row.key}.mp4")
            audio = inside(root, "audio", split, f"{row.key}.wav")
            write_bytes(video, source.mp4(row.key))
            write_bytes(audio, encode_wav(source.store.audio(row.key)))
            sizes = (row.num_frames, SAMPLES_PER_FRAME * row.num_frames)
            lines.append(
                "\t".join([row.key, str(video.relative_to(root)), str(audio), *map(str, sizes)])
                + "\n"
            )
            words.append(f"{' '.join(row.text.lower().split())}\n")
        write_text(out / f"{NAMES[split]}.tsv", "".join(lines))
        write_text(out / f"{NAMES[split]}.wrd", "".join(words))
        count += len(words)
    return count
