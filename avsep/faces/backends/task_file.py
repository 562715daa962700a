"""MediaPipe's Face Landmarker task file, which the package contains: check it and read it."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING

from avsep.errors import CheckError

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

FILE_NAME = "face_landmarker_v2.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR = "face_detector.tflite"
LANDMARKER = "face_landmarks_detector.tflite"

_owning_stderr = threading.Lock()


def read_models(content: bytes | None = None) -> dict[str, bytes]:
    """The TFLite models of the task file, by name.

    Args:
        content: bytes of the file; None for the file in the package.

    Raises:
        CheckError: the file is not the one that this code was written for.
    """
    if content is None:
        content = (resources.files("avsep.faces") / "data" / FILE_NAME).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise CheckError(
            f"{FILE_NAME} is damaged: its sha256 is {digest[:12]}..., not {SHA256[:12]}...;"
            " install avsep again."
        )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in (DETECTOR, LANDMARKER)}


def interpreter(model: bytes) -> Interpreter:
    """A LiteRT interpreter on one thread (XNNPACK is its default on the CPU).

    Half-precision kernels (XNNPACK's FORCE_FP16) are 15 % faster on CPUs that have them, but move
    landmarks by up to 2 of 256 pixels, so they are off.
    """
    from ai_edge_litert.interpreter import Interpreter

    with _without_info_lines():
        loaded = Interpreter(model_content=model, num_threads=1)
        loaded.allocate_tensors()
    return loaded


@contextmanager
def _without_info_lines() -> Iterator[None]:
    """Remove `INFO:` lines that C++ code in the body writes to stderr; other lines pass.

    For each model in each process, LiteRT reports that XNNPACK is on, in the middle of progress
    bars, and has no setting to turn that off.
    """
    # Of two threads, one would keep the file of the other as the stderr of the process.
    with _owning_stderr, tempfile.TemporaryFile() as lines:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(lines.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            lines.seek(0)
            for line in lines:
                if not line.startswith(b"INFO:"):
                    os.write(2, line)
