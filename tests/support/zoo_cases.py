"""Media of every bad and odd kind, made from one talking head, with how each must end."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.support.media_zoo import Case, Studio, table

PLACES = 20  # at which files are cut short
DONE = ("done",)
UNDECODABLE = ("undecodable",)
NAMES = [
    os.fsdecode(b"caf\xe9.mp4"),
    "e\u0301.mp4", "\u00e9.mp4", "a\u2028b\x85c.mp4", "tab\there\n.mp4",
    "\x1b[31mred.mp4", "\u202eltr.mp4", "Case.mp4", "case.mp4", " space .mp4", "-rf.mp4", "CON.mp4",
    "a:b?c*.mp4", "x" * 251 + ".mp4", "\u7d75" * 83 + ".mp4", "...mp4", "%s{0}.mp4", "'\".mp4",
    "$(reboot).mp4", "<script>alert(1).mp4", "=cmd|x!A0.mp4", "http:x.mp4", "concat:a|b.mp4",
]  # fmt: skip
"""Names of files; the one that begins with a dot is hidden, and no clip."""

_ONE = 1 << 16
_TURNS = {  # the matrix in a file, and the filter of ffmpeg that it undoes
    "90": ((0, _ONE, 0, -_ONE, 0, 0), "transpose=cclock"),
    "180": ((-_ONE, 0, 0, 0, -_ONE, 0), "hflip,vflip"),
    "270": ((0, -_ONE, 0, _ONE, 0, 0), "transpose=clock"),
    "mirror": ((-_ONE, 0, 0, 0, _ONE, 0), "hflip"),
    "flip": ((_ONE, 0, 0, 0, -_ONE, 0), "vflip"),
    "flip-90": ((0, -_ONE, 0, -_ONE, 0, 0), "transpose=clock_flip"),
}


def cases() -> list[Case]:
    """The whole zoo."""
    made = [*_cut_short(), *_not_media(), *_headers(), *_streams(), *_sound(), *_rates(),
            *_shapes(), *_codecs(), *_times(), *_contents(), *_damaged(), *_references(),
            *_names()]  # fmt: skip
    assert len({case.file for case in made}) == len(made)
    return made


def promised() -> list[str]:
    """The table as the cases promise it; where a case may end in several ways, all of them."""
    found = []
    for case in cases():
        found.append((case.kind, ", ".join(case.ends).replace(", ", "`, `")))
    return [line.replace("`done`", "done") for line in table(found)]


def _files(kind: str, ends: tuple[str, ...], files: dict[str, bytes], **extra: bool) -> list[Case]:
    """Cases of given bytes."""
    return [
        Case(kind, name, ends, lambda _, path, content=content: path.write_bytes(content), **extra)
        for name, content in files.items()
    ]


def _clips(
    kind: str, ends: tuple[str, ...], files: dict[str, tuple[str | Path, ...]], **extra: object
) -> list[Case]:
    """Cases that ffmpeg makes of the head, with options."""
    return [
        Case(kind, name, ends, lambda s, path, words=words: s.clip(path, *words, **extra))  # type: ignore[arg-type]
        for name, words in files.items()
    ]


def _changed(make: Callable[[Studio, Path], object], change: Callable[[bytes], bytes]):
    def both(studio: Studio, path: Path) -> None:
        make(studio, path)
        path.write_bytes(change(path.read_bytes()))

    return both


def _of_head(*words: str) -> Callable[[Studio, Path], object]:
    return lambda studio, path: studio.clip(path, *words)


def _of_square(*words: str) -> Callable[[Studio, Path], object]:
    return lambda studio, path: studio.clip(path, *words, video=studio.square)


def _cut_short() -> Iterator[Case]:
    for number in range(1, PLACES + 1):

        def cut(content: bytes, number: int = number) -> bytes:
            return content[: len(content) * number // (PLACES + 1)]

        sample = number in (1, 10)
        at_end = _changed(_of_square(), cut)
        yield Case("cut short, MP4 (its index is at the end)", f"cut{number}.mp4", UNDECODABLE,
                   at_end, sample)  # fmt: skip
    some = ("undecodable", "no_audio", "too_short", "face_too_short", "done")
    for number in range(1, PLACES + 1):

        def cut(content: bytes, number: int = number) -> bytes:
            return content[: len(content) * number // (PLACES + 1)]

        for suffix, words in (("mkv", ()), ("mpg", ("-f", "mpegts"))):
            make = _changed(_of_head(*words), cut)
            yield Case(f"cut short, {'Matroska' if suffix == 'mkv' else 'MPEG-TS'}",
                       f"cut{number}.{suffix}", some, make)  # fmt: skip


def _not_media() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    yield from _files("no bytes, zeros, noise, text", UNDECODABLE, {
        "empty.mp4": b"", "zeros.mkv": bytes(1 << 20), "noise.mp4": rng.bytes(1 << 16),
        "text.avi": b"hello " * 100, "page.webm": b"<html><body><video src='x.mp4'></html>",
        "pickle.mov": b"\x80\x04\x95" + bytes(90), "zip.m4v": b"PK\x03\x04" + bytes(200),
    }, sample=True)  # fmt: skip
    for suffix in ("jpg", "png", "gif", "wav", "mp3", "flac"):

        def make(studio: Studio, path: Path, suffix: str = suffix) -> None:
            target = studio.folder / f"x.{suffix}"
            still = suffix in ("jpg", "png", "gif")
            source = studio.square if still else studio.sound(path.name)
            studio.ffmpeg("-i", source, *(("-frames:v", "1") if still else ()), target)
            target.rename(path)

        yield Case("pictures and sounds named .mp4", f"a-{suffix}.mp4", UNDECODABLE, make)
    yield from _clips("a container named as another", DONE, {
        "mkv.mp4": ("-f", "matroska"), "mp4.m4v": ("-f", "mp4"), "ts.mov": ("-f", "mpegts"),
        "flv.mkv": ("-ar", "44100", "-f", "flv"), "avi.webm": ("-f", "avi"),
    })  # fmt: skip


def _headers() -> Iterator[Case]:
    kind = "a header only"
    for file, mark, words in (
        ("moov.mp4", b"mdat", ("-movflags", "+faststart")),
        ("ftyp.mp4", b"free", ()),
        ("ebml.mkv", b"\x1fC\xb6u", ()),  # the first cluster
        ("riff.avi", b"movi", ()),
    ):

        def first(content: bytes, mark: bytes = mark) -> bytes:
            return content[: content.index(mark) + 4]

        made = _changed(_of_square(*words), first)
        yield Case(kind, file, UNDECODABLE, made, sample=file == "moov.mp4")

    def sized(side: int) -> Callable[[bytes], bytes]:
        def change(content: bytes) -> bytes:
            made, at = bytearray(content), 0
            while (at := made.find(b"\xff\xc0", at)) >= 0:  # SOF0 of each JPEG
                made[at + 5 : at + 9] = struct.pack(">HH", side, side)
                at += 2
            return bytes(made)

        return change

    kind = "a header with pictures over 8,192 pixels"
    for side in (8_200, 65_500):
        yield Case(kind, f"jpeg{side}.mkv", UNDECODABLE,
                   _changed(_of_square("-c:v", "mjpeg"), sized(side)))  # fmt: skip
    yield Case(kind, "wide.mkv", UNDECODABLE,
               _of_square("-c:v", "ffv1", "-vf", "scale=8208:16"))  # fmt: skip
    large = ("-c:v", "libx264", "-preset", "ultrafast", "-frames:v", "2", "-vf", "scale=9000:9000")
    yield Case(kind, "9000.mp4", UNDECODABLE, _of_square(*large))
    yield Case("8K", "8k.mp4", DONE, lambda s, path: s.clip(
        path, "-frames:v", "27", "-c:v", "libx264", "-preset", "ultrafast", "-vf",
        "scale=4320:4320:flags=neighbor,pad=7680:4320:1680:0"))  # fmt: skip


def _streams() -> Iterator[Case]:
    yield Case("pictures only", "only-pictures.mp4", ("no_audio",), lambda s, path: s.ffmpeg(
        "-i", s.square, "-c", "copy", path), sample=True)  # fmt: skip
    yield Case("sound only", "only-sound.mp4", ("no_video",), lambda s, path: s.ffmpeg(
        "-i", s.sound(path.name), path), sample=True)  # fmt: skip
    yield Case("sound with a cover picture", "cover.mp4", ("no_video",), lambda s, path: s.ffmpeg(
        "-i", s.square, "-i", s.sound(path.name), "-map", "0:v", "-map", "1:a", "-c:v", "mjpeg",
        "-frames:v", "1", "-disposition:v", "attached_pic", path))  # fmt: skip
    twice = ("-map", "1:a", "-filter:a:1", "volume=0.1")
    yield from _clips("two sounds", DONE, {"sounds.mp4": twice, "sounds.mkv": twice})
    yield from _clips("two videos", DONE, {
        "videos.mp4": ("-map", "0:v", "-c:v:1", "mpeg4", "-filter:v:1", "scale=64:64"),
    })  # fmt: skip


def _sound() -> Iterator[Case]:
    pcm = {f"{kind}.mkv": ("-c:a", f"pcm_{kind}") for kind in
           ("u8", "s16le", "s24le", "s32le", "f32le", "f64le", "mulaw", "s16be")}  # fmt: skip
    yield from _clips("sample formats (8 to 64 bits, whole and floating)", DONE, pcm)
    rates = {f"{rate}hz.mov": ("-c:a", "pcm_s16le", "-ar", str(rate)) for rate in
             (8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000)}  # fmt: skip
    yield from _clips("sample rates of 8 to 192 kHz", DONE, rates)
    yield from _clips("sound in AAC, MP3, Opus, Vorbis, AC-3, FLAC, ALAC, ADPCM, WMA", DONE, {
        "aac.mp4": ("-ac", "2"), "mp3.mp4": ("-c:a", "libmp3lame"), "opus.mkv": ("-c:a", "libopus"),
        "vorbis.mkv": ("-c:a", "libvorbis"), "ac3.mkv": ("-c:a", "ac3", "-ar", "48000"),
        "flac.mkv": ("-c:a", "flac"), "alac.mov": ("-c:a", "alac"), "wma.mkv": ("-c:a", "wmav2"),
        "adpcm.avi": ("-c:a", "adpcm_ima_wav"),
    })  # fmt: skip
    yield from _clips("six channels", DONE, {"surround.mkv": ("-ac", "6", "-c:a", "pcm_s16le")})


def _rates() -> Iterator[Case]:
    again = ("-c:v", "libx264", "-preset", "veryfast")
    for fps in ("1", "5"):
        yield Case("1 and 5 pictures per second", f"{fps}fps.mp4", ("frozen_picture",),
                   _of_square(*again, "-r", fps))  # fmt: skip
    slow = {f"{fps}fps.mp4".replace("/", "-"): (*again, "-r", fps)
            for fps in ("12", "15", "24000/1001", "30", "50", "60", "120")}  # fmt: skip
    yield from _clips("12 to 120 pictures per second", DONE, slow)
    uneven = "select='not(eq(mod(n,7),3))',setpts='PTS+0.3*mod(N,3)*0.04/TB'"
    yield from _clips("a variable rate of pictures", DONE, {
        "vfr.mp4": (*again, "-vf", uneven, "-fps_mode", "vfr"),
        "vfr.mkv": (*again, "-vf", uneven, "-fps_mode", "vfr"),
    })  # fmt: skip


def _shapes() -> Iterator[Case]:
    again = ("-c:v", "libx264", "-preset", "veryfast")
    for name, (matrix, undone) in _TURNS.items():

        def turned(content: bytes, matrix=matrix) -> bytes:
            made = bytearray(content)
            first = made.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
            made[first : first + 24] = struct.pack(">6i", *matrix)
            return bytes(made)

        make = _changed(lambda s, path, undone=undone: s.clip(path, *again, "-vf", undone), turned)
        yield Case("turned and mirrored by the file", f"turned-{name}.mp4", DONE, make)
    yield from _clips("pixels that are not square", DONE, {
        "wide.mp4": (*again, "-vf", "scale=112:224,setsar=2"),
        "tall.mkv": (*again, "-vf", "scale=224:112,setsar=1/2"),
        "sar1000.mp4": (*again, "-vf", "setsar=1/200"),
    })  # fmt: skip
    yield from _clips("sides of an odd number of pixels", DONE, {
        "225x223.mp4": (*again, "-pix_fmt", "yuv444p", "-vf", "scale=225:223"),
        "225x223.mkv": ("-c:v", "ffv1", "-pix_fmt", "yuv420p", "-vf", "scale=225:223"),
    })  # fmt: skip
    for kind, ends, sizes in (
        ("pictures of 1 x 1 to 8,192 x 2 pixels", ("frozen_picture", "no_face"),
         ("1:1", "2:2", "640:2", "8192:2")),
        ("pictures of 16 x 16 and 33 x 31 pixels", ("no_face", "face_too_short", "done"),
         ("16:16", "33:31")),
    ):  # fmt: skip
        tiny = {f"{size}.mkv".replace(":", "x"): ("-c:v", "ffv1", "-vf", f"scale={size}")
                for size in sizes}  # fmt: skip
        yield from _clips(kind, ends, tiny)


def _codecs() -> Iterator[Case]:
    fast = ("-preset", "ultrafast")
    yield from _clips("10 bits, 4:2:2, 4:4:4 and grey", DONE, {
        "10bit.mp4": ("-c:v", "libx264", *fast, "-pix_fmt", "yuv420p10le"),
        "hevc10.mp4": ("-c:v", "libx265", *fast, "-pix_fmt", "yuv420p10le", "-x265-params",
                       "log-level=error:pools=none"),
        "422.mkv": ("-c:v", "libx264", *fast, "-pix_fmt", "yuv422p"),
        "444.mkv": ("-c:v", "libx264", *fast, "-pix_fmt", "yuv444p"),
        "grey.mkv": ("-c:v", "ffv1", "-pix_fmt", "gray"),
        "rgb.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgr0"),
        "grey16.mkv": ("-c:v", "ffv1", "-pix_fmt", "gray16le"),
    })  # fmt: skip
    yield from _clips("interlaced", DONE, {
        "interlaced.mp4": ("-c:v", "libx264", *fast, "-flags:v", "+ilme+ildct", "-x264-params",
                           "interlaced=1"),
        "interlaced.mpg": ("-c:v", "mpeg2video", "-q:v", "2", "-flags:v", "+ilme+ildct", "-c:a",
                           "mp2", "-f", "mpeg"),
    })  # fmt: skip
    yield from _clips("other codecs and containers", DONE, {
        "vp8.webm": ("-c:v", "libvpx", "-b:v", "2M", "-c:a", "libopus"),
        "vp9.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-c:a", "libopus"),
        "av1.mkv": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"),
        "mpeg4.avi": ("-c:v", "mpeg4", "-q:v", "2"), "mjpeg.mov": ("-c:v", "mjpeg", "-q:v", "2"),
        "mpeg1.mpg": ("-c:v", "mpeg1video", "-q:v", "2", "-c:a", "mp2", "-f", "mpeg"),
        "theora.mkv": ("-c:v", "libtheora", "-q:v", "8"), "wmv.mkv": ("-c:v", "wmv2", "-q:v", "2"),
        "flv1.mp4": ("-c:v", "flv", "-q:v", "2", "-ar", "44100", "-f", "flv"),
        "fragments.mp4": ("-movflags", "frag_keyframe+empty_moov"),
        "png.mov": ("-c:v", "png"), "raw.avi": ("-c:v", "rawvideo", "-pix_fmt", "yuv420p"),
    })  # fmt: skip


def _times() -> Iterator[Case]:
    later = ("-output_ts_offset", "1000")
    yield from _clips("times that do not start at zero", DONE, {
        "later.mkv": later, "later.mpg": (*later, "-f", "mpegts"), "later.mp4": later,
    })  # fmt: skip
    yield from _clips("pictures that begin without time stamps", UNDECODABLE, {
        "negative.mkv": ("-output_ts_offset", "-0.2", "-avoid_negative_ts", "disabled"),
    })  # fmt: skip
    yield from _clips("sound longer than the pictures", DONE, {
        "longer.mp4": (), "longer.mkv": (), "longer.avi": (),
    }, seconds=3.0)  # fmt: skip
    yield from _clips("sound that starts later", DONE, {
        "late.mp4": (), "late.mkv": (),
    }, before=("-itsoffset", "-0.4"))  # fmt: skip
    yield from _clips("less than `clean.min_duration_s` in common", ("too_short",), {
        "shorter.mp4": (), "shorter.mkv": (),
    }, seconds=0.5)  # fmt: skip
    yield from _clips("sound that starts after the pictures", ("too_short",), {
        "apart.mkv": (),
    }, before=("-itsoffset", "-5"))  # fmt: skip


def _contents() -> Iterator[Case]:
    again = ("-c:v", "libx264", "-preset", "veryfast")
    black, frozen = "geq=16:128:128", "loop=39:1:0,select=lt(n\\,40)"
    yield Case("black", "black.mp4", ("black_picture",), _of_square(*again, "-vf", black))
    yield Case("frozen", "frozen.mp4", ("frozen_picture",), _of_square(*again, "-vf", frozen))
    yield Case("silent", "silent.mp4", ("silent",), _of_square("-af", "volume=0"), sample=True)
    yield from _clips("clipped sound", DONE, {
        "clipped.mkv": ("-af", "volume=40dB", "-c:a", "pcm_s16le")})  # fmt: skip
    yield from _clips("a constant added to the sound", DONE, {
        "offset.mkv": ("-af", "dcshift=0.5", "-c:a", "pcm_f32le")})  # fmt: skip

    yield Case("no face", "no-face.mp4", ("no_face",), _of_square())
    float_sound = ("-c:a", "pcm_f32le")
    for name, value in (("nan", np.nan), ("inf", np.inf), ("huge", 1e38)):

        def make(studio: Studio, path: Path, value: float = value) -> None:
            sound = studio.folder / "numbers.wav"
            studio.ffmpeg("-i", studio.sound(path.name), *float_sound, sound)
            content = bytearray(sound.read_bytes())
            at = content.index(b"data") + 8
            made = np.frombuffer(content, "<f4", -1, at)
            made[len(made) // 4 : len(made) // 2] = value
            sound.write_bytes(content)
            both = ("-map", "0:v", "-map", "1:a", "-c", "copy")
            studio.ffmpeg("-i", studio.head, "-i", sound, *both, path)

        yield Case("sound of NaN, infinity and 1e38", f"{name}.mkv", DONE, make)
    yield Case("40 faces", "crowd.mp4", DONE, lambda s, path: s.clip(
        path, *again, "-frames:v", "30", "-filter_complex",
        "[0:v]crop=160:200:32:12,split=40" + "".join(f"[a{n}]" for n in range(40)) + ";"
        + "".join(f"[a{n}]" for n in range(40)) + "xstack=inputs=40:layout="
        + "|".join(f"{n % 8 * 160}_{n // 8 * 200}" for n in range(40)) + "[v]",
        "-map", "-0:v", "-map", "[v]"))  # fmt: skip


def _damaged() -> Iterator[Case]:
    for number in range(12):

        def change(content: bytes, number: int = number) -> bytes:
            rng = np.random.default_rng(number)
            made = np.frombuffer(content, np.uint8).copy()
            places = rng.integers(0, len(made), (2, 20, 200)[number % 3])
            made[places] = rng.integers(0, 256, len(places))
            return made.tobytes()

        suffix = ("mp4", "mkv", "mpg", "avi")[number % 4]
        words = ("-f", "mpegts") if suffix == "mpg" else ()
        make = _changed(_of_head(*words), change)
        yield Case("2 to 200 bytes changed at random", f"damaged{number}.{suffix}",
                   ("done", "undecodable", "too_short", "no_audio", "no_video"),
                   make)  # fmt: skip


def _references() -> Iterator[Case]:
    """Files that name others: `FILE` stands for a good clip, and none of them becomes one."""
    texts = {
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nFILE\n#EXT-X-ENDLIST\n",
        "http.mp4": "#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        "data.mp4": "#EXTM3U\n#EXTINF:2,\ndata:video/mp4;base64,AAAA\n#EXT-X-ENDLIST\n",
        "concat.mp4": "ffconcat version 1.0\nfile FILE\n",
        "concat.mkv": "file 'FILE'\n",
        "passwd.mp4": "ffconcat version 1.0\nfile /etc/passwd\n",
        "dash.mp4": "<?xml version='1.0'?><MPD><Period><BaseURL>FILE</BaseURL></Period></MPD>",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "svg.mp4": "<svg xmlns='http://www.w3.org/2000/svg'><image href='FILE'/></svg>",
        "m3u.avi": "FILE\n",
        "asx.mp4": "<asx version='3.0'><entry><ref href='FILE'/></entry></asx>",
        "imf.mp4": "<CompositionPlaylist><Id>FILE</Id></CompositionPlaylist>",
        "aviscript.avi": 'DirectShowSource("FILE")\n',
        "vapoursynth.mkv": "import os; os.mknod('FILE.ran')\n",
    }
    for file, text in texts.items():

        def make(studio: Studio, path: Path, text: str = text) -> None:
            path.write_text(text.replace("FILE", str(studio.head)), "utf-8")

        kind = "playlists, scripts and pictures that name other files"
        yield Case(kind, file, UNDECODABLE, make)

    def external(content: bytes) -> bytes:
        """The track data of an MP4 in another file: `url ` without the flag `in this file`."""
        at = content.index(b"url \x00\x00\x00\x01")
        assert content.count(b"url \x00\x00\x00\x01") == 2
        return content[:at] + b"url \x00\x00\x00\x00" + content[at + 8 :]

    def elsewhere(content: bytes) -> bytes:
        """The same as QuickTime's alias to a file beside it."""
        name = b"good.mp4"
        alias = struct.pack(">IIHH", 0, 0, 150, 2) + bytes(46) + bytes([len(name)]) + name
        alias = alias.ljust(150, b"\0")
        alias += struct.pack(">hH", 2, len(name)) + name + struct.pack(">hH", -1, 0)
        at = content.index(b"url \x00\x00\x00\x01") - 4
        box = struct.pack(">I4sI", len(alias) + 12, b"alis", 0) + alias
        made = bytearray(content[:at] + box + content[at + 12 :])
        grown = len(box) - 12
        for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
            place = made.index(name) - 4
            size = struct.unpack(">I", made[place : place + 4])[0]
            made[place : place + 4] = struct.pack(">I", size + grown)
        return bytes(made)

    # The first says so without a name, and its own pictures are read; the second is not followed.
    for file, change, ends in (
        ("url.mov", external, DONE),
        ("alias.mov", elsewhere, ("no_video",)),
    ):
        kind = "an MP4 that says that its pictures are in another file"
        yield Case(kind, file, ends, _changed(_of_head(), change))


def _names() -> Iterator[Case]:
    for name in NAMES:
        if not name.startswith("."):
            yield Case("names of every kind that a disk takes", name, DONE,
                       _of_head())  # fmt: skip
