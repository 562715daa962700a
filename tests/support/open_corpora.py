"""Miniature GRID, Lombard GRID and CREMA-D as their servers hold them, quirks included."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable

from tests.support.file_server import FileServer

Clip = Callable[[int, str], bytes]
"""Makes the bytes of clip n with a suffix such as `.mpg`."""

GRID, LOMBARD = "3625687", "3736465"
GITHUB = "CheyneyComputerScience/CREMA-D/master"


def codes(speaker: str, count: int) -> list[str]:
    """Codes of a speaker; as in GRID, those of two speakers differ."""
    number = int(speaker[1:])
    found = []
    for index in range(count):
        letter = "abcdefghijklmnopqrstuvxyz"[(number * 7 + index) % 25]
        digit = "z123456789"[(number + index) % 10]
        found.append(f"{'blps'[index % 4]}{'bgrw'[number % 4]}{'abiw'[index % 3]}{letter}{digit}n")
    return found


def fake(number: int, _suffix: str) -> bytes:
    """Bytes that are no video and that do not compress."""
    return hashlib.shake_128(f"clip {number}".encode()).digest(20_000 + number)


def zip_of(files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in files.items():
            # The same bytes whenever it is made: with the time in it, its hash would change.
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return buffer.getvalue()


def alignment(code: str, unit: int) -> bytes:
    """The words of a code in `unit` steps per second, as `start end word`."""
    from avsep.corpora.grid_names import words_of

    words = ["sil", *words_of(code), "sil"]
    step = unit * 3 // len(words)
    rows = [f"{i * step} {(i + 1) * step} {word}" for i, word in enumerate(words)]
    rows[-1] = f"{(len(words) - 1) * step} {unit * 3} sil"
    return ("\n".join(rows) + "\n").encode()


def serve_record(server: FileServer, record: str, files: dict[str, bytes]) -> None:
    """The files of a record of Zenodo, and the record."""
    for name, content in files.items():
        server.files[f"records/{record}/files/{name}"] = content
    listed = [
        {
            "key": name,
            "size": len(content),
            "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
        }
        for name, content in files.items()
    ]
    server.files[f"api/records/{record}"] = json.dumps({"files": listed}).encode()


def serve_grid(
    server: FileServer, speakers: tuple[str, ...], clips: int = 4, make: Clip = fake
) -> None:
    """An archive per speaker, with what macOS adds, and the alignments in misfiled folders."""
    from avsep.corpora.grid_names import MISFILED

    files, aligned, number = {}, {}, 0
    for speaker in speakers:
        members = {}
        for code in codes(speaker, clips):
            number += 1
            members[f"{speaker}/{code}.mpg"] = make(number, ".mpg")
            members[f"__MACOSX/{speaker}/._{code}.mpg"] = b"mac"
            folder = MISFILED.get(speaker, speaker)
            # Both releases of the alignments, each with its own unit.
            aligned[f"alignments/{folder}/{code}.align"] = alignment(
                code, 25_000 if number % 2 else 1000
            )
        files[f"{speaker}.zip"] = zip_of(members)
    files["alignments.zip"] = zip_of(aligned)
    serve_record(server, GRID, files)


def serve_lombard(
    server: FileServer, speakers: tuple[str, ...], clips: int = 3, make: Clip = fake
) -> None:
    """Front, side and sound, plain and Lombard, with a sentence that was read wrongly."""
    files: dict[str, dict[str, bytes]] = {"front": {}, "side": {}, "audio": {}}
    number = 0
    for speaker in speakers:
        stems = [f"{speaker}_{'pl'[i % 2]}_{c}" for i, c in enumerate(codes(speaker, clips))]
        for stem in [*stems, f"{stems[0]}_WRONG_bbaf2n"]:
            number += 1
            for view in ("front", "side"):
                files[view][f"lombardgrid/{view}/{stem}.mov"] = make(number, ".mov")
            files["audio"][f"lombardgrid/audio/{stem}.wav"] = make(number, ".wav")
    serve_record(
        server, LOMBARD, {f"lombardgrid_{part}.zip": zip_of(of) for part, of in files.items()}
    )


def serve_crema_d(
    server: FileServer, actors: tuple[str, ...], clips: int = 3, make: Clip = fake
) -> None:
    """The lists, pointers of Git LFS, and the clips on the other server."""
    sexes = ["ActorID,Age,Sex,Race,Ethnicity"]
    stems = ['"Stimulus_Number","Filename"']
    number = 0
    for place, actor in enumerate(actors):
        sexes.append(f"{actor},{30 + place},{('Male', 'Female')[place % 2]},x,y")
        for index in range(clips):
            number += 1
            sentence, mood = ("IEO", "TIE", "IOM", "DFA")[index % 4], ("NEU", "ANG")[index % 2]
            stem = f"{actor}_{sentence}_{mood}_XX"
            stems.append(f'{number},"{stem}"')
            content = make(number, ".flv")
            name = f"VideoFlash/{stem}.flv"
            oid = hashlib.sha256(content).hexdigest()
            server.files[f"{GITHUB}/{name}"] = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\n"
                f"size {len(content)}\n"
            ).encode()
            server.files[f"media/{GITHUB}/{name}"] = content
    server.files[f"{GITHUB}/VideoDemographics.csv"] = "\r\n".join([*sexes, ""]).encode()
    server.files[f"{GITHUB}/SentenceFilenames.csv"] = "\n".join([*stems, ""]).encode()
