"""Clips in the containers and codecs that corpora use, made of MP4 files."""

import subprocess
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

OPTIONS = {
    ".mpg": ("-c:v", "mpeg1video", "-b:v", "1500k", "-c:a", "mp2", "-ar", "44100", "-ac", "2"),
    ".mov": ("-c:v", "copy", "-an"),
    ".wav": ("-vn", "-c:a", "pcm_s16le", "-ar", "48000"),
    ".flv": ("-c", "copy"),
}


def converted(path: Path, suffix: str) -> bytes:
    """The bytes of a clip as MPEG-1, as a silent .mov, as .wav, or as .flv."""
    target = path.with_name(f"{path.stem}-as{suffix}")
    words = (get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(path), *OPTIONS[suffix], str(target))
    subprocess.run(words, check=True)
    content = target.read_bytes()
    target.unlink()
    return content
