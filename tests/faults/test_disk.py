"""On a full or read-only disk every writer names the disk, leaves nothing half-written, and goes on
when the disk has room again.
"""

import errno
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from avsep.corpora.journal import Journal
from avsep.corpora.source_clip import FileInfo, SourceClip
from avsep.corpora.source_files import write_file
from avsep.errors import (
    AvsepError,
    ItemError,
    Reason,
    disk_fault,
    disk_item_error,
    is_full,
)
from avsep.files import (
    all_or_nothing,
    append_jsonl,
    read_journal,
    replaced_directory,
    write_bytes,
    write_json,
    write_table,
)
from avsep.media.encode import write_mp4
from avsep.models.checkpoint import _write_weights
from avsep.outcome import Outcome
from avsep.separation.disk_array import DiskArray
from avsep.separation.folder import output_folder
from avsep.shards.writer import write_shard
from avsep.training.checkpoints import write_checkpoint
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import write_marker
from pipeline.execution.stage import Batch
from tests.support.small_disk import mounted

NOISE = np.random.default_rng(0).integers(0, 255, 1 << 17, np.uint8)
CLIP = SourceClip(
    clip_id="c" * 5000,
    corpus="x",
    speaker="s",
    group="s",
    gender="",
    split="train",
    path="a.mp4",
    source="/a",
)  # fmt: skip


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with mounted(tmp_path_factory.mktemp("disk") / "small", 16) as made:
        yield made


def weights() -> dict[str, torch.Tensor]:
    return {"w": torch.from_numpy(NOISE.copy())}


def separation(folder: Path) -> None:
    with output_folder(folder / "out") as out:
        DiskArray(out / "a.f32", "float32").append(NOISE.astype(np.float32))


def published(folder: Path) -> None:
    with replaced_directory(folder / "published") as out:
        write_bytes(out / "big", NOISE.tobytes())


def exported(folder: Path) -> None:
    with all_or_nothing(folder / "exported"):
        write_bytes(folder / "exported" / "small", b"x")
        write_bytes(folder / "exported" / "big", NOISE.tobytes())


def shard(folder: Path) -> None:
    sample = dict.fromkeys(("json", "lips.npy", "lmk.npz", "wav"), NOISE.tobytes())
    write_shard(folder / "a-000000.tar", [("k", sample, 1)], "plain")


def mp4(folder: Path) -> None:
    write_mp4(folder / "a.mp4", iter(NOISE[: 64 * 64 * 3 * 10].reshape(10, 64, 64, 3)), None, crf=0)


def ledger(folder: Path) -> None:
    rows = [Outcome.ended(f"{n}", Reason.SILENT, "x" * 400) for n in range(500)]
    Ledger(folder / "ledger.sqlite").record("clean", rows)


WRITERS = {
    "bytes": lambda f: write_bytes(f / "a.bin", NOISE.tobytes()),
    "json": lambda f: write_json(f / "a.json", NOISE[:20_000].tolist()),
    "journal": lambda f: append_jsonl(f / "a.jsonl", NOISE[:20_000].tolist()),
    "table": lambda f: write_table(f / "a.parquet", pa.table({"a": NOISE})),
    "raw file": lambda f: write_file(f / "raw.mp4", [NOISE.tobytes()]),
    "raw journal": lambda f: Journal(f / "b.jsonl").add(CLIP, FileInfo("0" * 64, 1)),
    "marker": lambda f: write_marker(
        Workspace(f), "clean", Batch(name="b", items=("a",)), [Outcome.done("a")], {"f": "x" * 9999}
    ),
    "ledger": ledger,
    "shard": shard,
    "checkpoint": lambda f: write_checkpoint(f / "last.ckpt", weights()),
    "safetensors": lambda f: _write_weights(weights(), f / "m.safetensors"),
    "torch file": lambda f: _write_weights(weights(), f / "m.pt"),
    "mp4": mp4,
    "separation": separation,
    "publishing": published,
    "export": exported,
}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def meaning(error: BaseException) -> str:
    """What a person reads: that of a command, of an item in the ledger, or of the entry point."""
    return str(error) if isinstance(error, AvsepError | ItemError) else disk_fault(error)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "read-only"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_names_the_disk_and_goes_on_when_it_is_healed(disk, name, fault):
    write, folder = WRITERS[name], disk.path / f"{name} {fault}"
    folder.mkdir()
    if name == "export":  # needs a new folder
        before = {}
    else:
        write(folder)
        before = files(folder)
    disk.fill() if fault == "full" else disk.make_read_only()
    try:
        with pytest.raises(Exception, match=r".") as caught:
            for _ in range(10):  # a page of a journal may have room left
                write(folder)
        assert f"disk is {fault}" in meaning(caught.value), repr(caught.value)
        if not isinstance(caught.value, AvsepError | ItemError):
            reason = Reason.OUT_OF_SPACE if fault == "full" else Reason.DISK_FAILED
            assert disk_item_error(caught.value).reason is reason
        kept = files(folder)
    finally:
        disk.heal()
    grows = (".jsonl", ".sqlite", ".sqlite-wal", ".sqlite-shm")
    whole = [{n: c for n, c in each.items() if not n.endswith(grows)} for each in (before, kept)]
    assert whole[0] == whole[1]
    assert not [path for path in kept if ".tmp" in path or path.startswith("exported")]
    write(folder)
    if name == "journal":
        rows = read_journal(folder / "a.jsonl")
        assert rows == [NOISE[:20_000].tolist()] * len(rows)
        assert len(rows) >= 2
    if name == "ledger":
        assert len(Ledger(folder / "ledger.sqlite").outcomes("clean")) == 500
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("error", "words", "reason"),
    [
        (OSError(errno.ENOSPC, "x"), "the disk is full", Reason.OUT_OF_SPACE),
        (OSError(errno.EDQUOT, "x", "/a"), "/a: the disk quota", Reason.OUT_OF_SPACE),
        (OSError(errno.EFBIG, "x"), "takes no file of this size", Reason.OUT_OF_SPACE),
        (OSError(errno.EROFS, "x", b"/\xff"), "the disk is read-only", Reason.DISK_FAILED),
        (OSError(errno.EIO, "x"), "the disk fails", Reason.DISK_FAILED),
        (OSError(errno.ESTALE, "x"), "the network disk has gone", Reason.DISK_FAILED),
        (PermissionError(errno.EACCES, "x", "/a"), "permission denied", Reason.DISK_FAILED),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "full", None),
        (sqlite3.OperationalError("database or disk is full"), "full", None),
        (sqlite3.OperationalError("attempt to write a readonly database"), "read-only", None),
    ],
    ids=range(10),
)
def test_an_error_of_the_disk_is_told_from_others(error, words, reason):
    assert words in disk_fault(error)
    assert reason in (None, disk_item_error(error).reason)
    later = ValueError("afterwards")  # as PyTorch's writer raises at its end
    later.__context__ = error
    assert disk_fault(later) == disk_fault(error)


def test_other_errors_are_not_the_disks():
    import av

    hidden = ValueError("x")
    hidden.__context__, hidden.__suppress_context__ = OSError(errno.ENOSPC, "x"), True
    others = [
        OSError("x"), FileNotFoundError(2, "x", "a"), PermissionError(1, "kill"), hidden,
        av.error.OSError(errno.EIO, "x"), ItemError(Reason.INTERNAL, "No space left on device"),
        KeyError("a"), BrokenPipeError(errno.EPIPE, "x"),
    ]  # fmt: skip
    for error in others:
        assert disk_fault(error) == "", repr(error)
        assert not is_full(error)
    assert is_full(av.error.OSError(errno.ENOSPC, "x"))
