"""Put the coded pictures of one file and the coded sound of another into one, unchanged."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from avsep.errors import ItemError, Reason, is_full
from avsep.files import atomic_path
from avsep.media.container import open_local


def join_sound(pictures: Path, sound: Path, target: Path) -> None:
    """Write a QuickTime file with the first video stream of one file and the sound of another.

    Nothing is decoded or encoded; both start at time 0 of their files.

    Args:
        pictures: path of the file with the pictures; its own sound is left out.
        sound: path of the file with the sound.
        target: path of the file to write, atomically.

    Raises:
        ItemError: a file cannot be opened, or a stream is missing or does not fit.
        OSError: the disk is full.
    """
    import av

    with ExitStack() as stack:
        video_file = stack.enter_context(open_local(pictures))
        sound_file = stack.enter_context(open_local(sound))
        if not video_file.streams.video:
            raise ItemError(Reason.NO_VIDEO, f"{pictures.name} has no pictures.")
        if not sound_file.streams.audio:
            raise ItemError(Reason.NO_AUDIO, f"{sound.name} has no sound.")
        try:
            temporary = stack.enter_context(atomic_path(target))
            options = {"fflags": "+bitexact"}
            out = stack.enter_context(av.open(str(temporary), "w", format="mov", options=options))
            sources: list[tuple[Any, Any]] = [
                (video_file, video_file.streams.video[0]),
                (sound_file, sound_file.streams.audio[0]),
            ]
            targets = [out.add_stream_from_template(stream) for _, stream in sources]
            for (container, stream), copy in zip(sources, targets, strict=True):
                for packet in container.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        out.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            if is_full(error):
                raise
            raise ItemError(
                Reason.UNDECODABLE, f"{pictures.name} and {sound.name} do not go into one file."
            ) from error
