"""Small files that unpack to much, or say that they are small and are not, are refused first."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from avsep import files
from avsep.errors import CheckError
from avsep.models.tensor_file import read_tensors
from avsep.shards.codecs import decode_member
from avsep.training.checkpoints import read_checkpoint
from tests.support.processes import high_water

SIZE = 64 << 20  # what the bombs unpack to, in bytes


def grown_by(call) -> int:
    """By how much a call lets this process grow at most, in bytes.

    The least of three times: threads of earlier tests may grow meanwhile.
    """

    def once() -> int:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the largest size so far
        before = high_water(os.getpid())
        call()
        return high_water(os.getpid()) - before

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    "kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=range(3)
)
@pytest.mark.slow
def test_landmarks_that_lie_about_their_size_are_not_unpacked(kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("pts.npy", bytes(SIZE))
    content = bytearray(buffer.getvalue())
    content[22:26] = struct.pack("<I", 1_000)  # the size in the member's own header
    directory = content.index(b"PK\1\2")
    content[directory + 24 : directory + 28] = struct.pack("<I", 1_000)

    def read() -> None:
        with pytest.raises(ValueError, match="landmarks"):
            decode_member("lmk.npz", bytes(content))

    assert grown_by(read) < SIZE // 2


def test_lips_of_another_size_are_refused_before_a_picture_is_made():
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 4_096, 4_096, "yuv420p"
        frame = av.VideoFrame(4_096, 4_096, "yuv420p")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = buffer.getvalue()

    def read(content: bytes, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            decode_member("lips.mp4", content)

    assert grown_by(lambda: read(content, "4096x4096; they must be 96x96")) < 8 << 20
    # The container says 96x96, and the pictures are larger.
    at = content.index(b"avc1") + 4 + 24
    lying = content[:at] + struct.pack(">HH", 96, 96) + content[at + 4 :]
    assert grown_by(lambda: read(lying, r"96x96|cannot be decoded|of 1 frames")) < 8 << 20


@pytest.mark.parametrize("reader", [read_tensors, read_checkpoint])
def test_weights_that_are_compressed_are_refused(tmp_path, reader):
    """PyTorch never compresses; a file that is could unpack to a thousand times its size."""
    plain, path = io.BytesIO(), tmp_path / "weights.pt"
    torch.save({"avsep": 1, "a": torch.zeros(1_000_000)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
    assert path.stat().st_size < 100_000
    with pytest.raises((ValueError, CheckError), match="compressed"):
        reader(path)


def test_a_table_of_many_equal_rows_is_refused(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    table = pa.table({"a": np.zeros(2_000_000, np.int64), "b": np.zeros(2_000_000, bool)})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 100_000
    assert files.read_table(path).num_rows == 2_000_000
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(CheckError, match="would unpack to"):
        files.read_table(path)
    # What is as large on the disk is no bomb.
    values = np.random.default_rng(0).integers(0, 1 << 60, 300_000)
    pq.write_table(pa.table({"a": values}), path)
    assert files.read_table(path).num_rows == 300_000
