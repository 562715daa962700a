"""Files of PyTorch from others: what is asked of them before PyTorch reads them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO


class CompressedError(ValueError):
    """A torch file is compressed, which PyTorch never does; it could unpack to any size."""


def check_not_compressed(file: Path | BinaryIO) -> None:
    """Pass a torch file that is not a zip archive, or whose members are stored as they are.

    Raises:
        CompressedError: a member is compressed.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for info in members:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise CompressedError(
                    f"{info.filename} in it is compressed, as PyTorch never does."
                )
        assert archive.fp is not None
        if sum(info.file_size for info in members) > archive.fp.seek(0, os.SEEK_END):
            raise CompressedError("members in it share their bytes, as PyTorch never does.")
