"""Miniature copies of VoxCeleb2, LRS2 and LRS3 in their official layouts, quirks included."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.clip_maker import make_clip, moving_pictures, speech_like

Writer = Callable[[Path, int], None]

# Speaker, gender, part; two of the test have no data, as in the published list.
PEOPLE = [
    ("id00012", "m", "dev"),
    ("id00015", "f", "dev"),
    ("id00016", "f", "dev"),
    ("id00017", "m", "test"),
    ("id00061", "f", "test"),
    ("id04170", "m", "test"),
    ("id05348", "f", "test"),
]
# YouTube ids that begin with - and _, contain both, and differ only in case.
VIDEOS = {
    "id00012": ["-4WQ2xQlAbc", "_a-b_C-d_E0"],
    "id00015": ["abcDEFghiJK", "abcdefghijk"],
    "id00016": ["Zz0Yy1Xx2Ww"],
    "id00017": ["21Uxsk56VDQ"],
    "id00061": ["-_-_-_-_-_-"],
}
UTTERANCES = ("00001", "00002")


def tiny_clip(path: Path, number: int) -> None:
    """A clip of 1.2 s of bursts of noise and a wandering square."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_clip(path, pictures=moving_pictures(30, seed=number), audio=speech_like(1.2, seed=number))


def fake_clip(path: Path, number: int) -> None:
    """Bytes that are not a video, for tests that do not decode clips."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([number % 256]) * 4000)


def vox2_keys() -> list[tuple[str, str, str]]:
    return [(s, v, u) for s, videos in VIDEOS.items() for v in videos for u in UTTERANCES]


def write_meta(root: Path) -> None:
    """vox2_meta.csv with a byte order mark, CRLF, and a space after each field."""
    rows = [("VoxCeleb2 ID", "VGGFace2 ID", "Gender", "Set")]
    rows += [(speaker, f"n{speaker[2:]}", gender, part) for speaker, gender, part in PEOPLE]
    text = "".join(" ,".join(row) + " \r\n" for row in rows)
    root.mkdir(parents=True, exist_ok=True)
    (root / "vox2_meta.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())


def vox2_annotation(
    speaker: str,
    video: str,
    *,
    first: int = 100,
    count: int = 30,
    offset: int = 0,
    asd: float = 4.5,
    box: tuple[float, float, float, float] = (0.3, 0.2, 0.25, 0.4444),
    pixels: bool = False,
    gap: bool = False,
) -> str:
    lines = [
        f"Identity  : \t{speaker}",
        f"Reference : \t{video}",
        f"Offset    : \t{offset}",
        "FV Conf   : \t17.812\t(0)",
        f"ASD Conf  : \t{asd}",
        "",
        "FRAME \tX \tY \tW \tH ",
    ]
    for index in range(count):
        frame = first + index + (5 if gap and index > count // 2 else 0)
        values = (round(v * 360) for v in box) if pixels else (f"{v:.3f}" for v in box)
        lines.append("\t".join([f"{frame:06d} ", *(f"{v} " for v in values)]))
    return "\n".join(lines) + "\n"


def vox2_tree(root: Path, writer: Writer = tiny_clip, annotations: bool = True) -> None:
    """An extracted copy: dev/mp4/..., test/mp4/..., txt/..."""
    write_meta(root)
    parts = {speaker: part for speaker, _, part in PEOPLE}
    for number, (speaker, video, utterance) in enumerate(vox2_keys()):
        writer(root / parts[speaker] / "mp4" / speaker / video / f"{utterance}.mp4", number)
        if annotations:
            path = root / "txt" / speaker / video / f"{utterance}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                vox2_annotation(speaker, video, first=100 * number, offset=number % 3 - 1)
            )


def vox2_archives(root: Path, scratch: Path, writer: Writer = tiny_clip, parts: int = 3) -> None:
    """The official archives: dev mp4 in parts, the others whole, with a file of checksums."""
    vox2_tree(scratch, writer)
    write_meta(root)
    sums = {}
    for part in ("dev", "test"):
        people = {speaker for speaker, _, p in PEOPLE if p == part}
        for kind in ("mp4", "txt"):
            below = scratch / part / "mp4" if kind == "mp4" else scratch / "txt"
            files = sorted(f for f in below.rglob(f"*.{kind}") if f.parts[-3] in people)
            name = f"vox2_{part}_{kind}.zip"
            packing = zipfile.ZIP_STORED if kind == "mp4" else zipfile.ZIP_DEFLATED
            top = f"{part}/mp4" if kind == "mp4" else "txt"
            with zipfile.ZipFile(root / name, "w", packing) as archive:
                archive.mkdir(top.partition("/")[0])
                for file in files:
                    archive.write(file, f"{top}/{file.relative_to(below)}")
            sums[name] = hashlib.md5((root / name).read_bytes()).hexdigest()
    split_archive(root / "vox2_dev_mp4.zip", parts)
    (root / "md5.txt").write_text("".join(f"{md5}  {name}\n" for name, md5 in sums.items()))


def split_archive(path: Path, parts: int) -> None:
    content = path.read_bytes()
    step = -(-len(content) // parts)
    for number in range(parts):
        name = f"{path.stem}_parta{chr(ord('a') + number)}"
        (path.parent / name).write_bytes(content[number * step : (number + 1) * step])
    path.unlink()


LRS2_PROGRAMMES = {
    "train": ["5535415699068794046", "5536038039829982468"],
    "val": ["6311111111111111111"],
    "test": ["6331559613336179781"],
}


def lrs2_copy(above: Path, writer: Writer = tiny_clip) -> Path:
    """mvlrs_v1 with its lists; the test list has a second word per line."""
    root = above / "mvlrs_v1"
    for number, (split, programmes) in enumerate(LRS2_PROGRAMMES.items()):
        lines = []
        for place, programme in enumerate(programmes):
            for utterance in UTTERANCES:
                clip = root / "main" / programme / f"{utterance}.mp4"
                writer(clip, 100 + 10 * number + 2 * place + int(utterance))
                clip.with_suffix(".txt").write_text("Text:  HELLO AND WELCOME\nConf:  4\n")
                lines.append(f"{programme}/{utterance}" + (" NF" if split == "test" else ""))
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    programme = LRS2_PROGRAMMES["train"][0]
    clip = root / "pretrain" / programme / "00009.mp4"
    writer(clip, 200)
    clip.with_suffix(".txt").write_text(
        "Text:  GOOD EVENING\nConf:  3\n\nWORD START END ASDSCORE\n"
        "GOOD 0.10 0.42 6.5\nEVENING 0.42 0.98 4.5\n"
    )
    (root / "pretrain.txt").write_text(f"{programme}/00009\n")
    return root


LRS3_TALKS = {
    "trainval": ["0Fi83BHQsMA", "0FkuRwU8HFc", "-abc_def-gh"],
    "test": ["0ZfSOArXbGQ"],
    "pretrain": ["00j9bKdiOjk"],
}


def lrs3_copy(above: Path, writer: Writer = tiny_clip) -> Path:
    """pretrain, trainval and test, and a list for validation."""
    root = above / "lrs3"
    number = 300
    for part, talks in LRS3_TALKS.items():
        for talk in talks:
            for utterance in ("50001", "50002") if part == "trainval" else ("00001", "00002"):
                number += 1
                clip = root / part / talk / f"{utterance}.mp4"
                writer(clip, number)
                words = (
                    ""
                    if part == "trainval"
                    else ("\nWORD START END ASDSCORE\nTHANK 0.00 0.30 5.1\nYOU 0.30 0.61 5.3\n")
                )
                boxes = "".join(f"{f:06d} 0.423 0.147 0.200 0.356\n" for f in range(50, 80))
                clip.with_suffix(".txt").write_text(
                    f"Text:  THANK YOU\nConf:  5\nRef:  {talk}\n\nFRAME X Y W H\n{boxes}{words}"
                )
    (root / "lrs3-valid.id").write_text(
        f"trainval/{LRS3_TALKS['trainval'][0]}/50001\ntrainval/{LRS3_TALKS['trainval'][0]}/50002\n"
    )
    return root
