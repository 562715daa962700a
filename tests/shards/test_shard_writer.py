"""Shards: the same bytes each time, and readable with common tools alone."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from avsep.files import sha256_file
from avsep.shards import tar
from avsep.shards.codecs import encode_sample
from avsep.shards.manifest import read_manifest
from avsep.shards.writer import MAX_KEY, sample_key, write_shard


@pytest.mark.parametrize("storage", ["compact", "plain"])
def test_a_set_built_twice_is_the_same_byte_for_byte(tmp_path, make_set, storage):
    make_set(tmp_path / "one", storage)
    make_set(tmp_path / "two", storage)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        "index.arrow", "index.parquet", "manifest.json", "train-000000.tar", "train-000001.tar"
    ]  # fmt: skip
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_tar_headers_hold_nothing_but_names_and_sizes(tmp_path, make_set):
    make_set(tmp_path, "compact")
    with tarfile.open(tmp_path / "train-000000.tar") as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == sorted(info.name for info in infos)
    for info in infos:
        owner = (info.uid, info.gid, info.uname, info.gname)
        assert (info.mtime, info.mode, info.type, *owner) == (
            0,
            0o644,
            tarfile.REGTYPE,
            0,
            0,
            "",
            "",
        )
    assert (tmp_path / "train-000000.tar").stat().st_size % tarfile.RECORDSIZE == 0


def test_manifest_tells_size_hash_and_counts(tmp_path, make_set):
    samples = make_set(tmp_path, "compact")
    manifest = read_manifest(tmp_path)
    for shard in manifest.shards:
        assert shard.size_bytes == (tmp_path / shard.name).stat().st_size
        assert shard.sha256 == sha256_file(tmp_path / shard.name)
    assert manifest.num_samples == len(samples) == 3
    assert manifest.num_frames == sum(sample.num_frames for sample in samples)


@pytest.mark.slow
def test_compact_needs_nothing_but_webdataset_soundfile_numpy_and_pyav(tmp_path, make_set):
    samples = make_set(tmp_path, "compact")
    script = """
import io, json, os, sys
os.environ["WDS_SECURE"] = "1"
import av, numpy as np, soundfile, webdataset as wds

def decode(item):
    sound, rate = soundfile.read(io.BytesIO(item["flac"]), dtype="int16")
    with av.open(io.BytesIO(item["lips.mp4"])) as video:
        lips = np.stack([f.to_ndarray(format="gray") for f in video.decode(video=0)])
    landmarks = np.load(io.BytesIO(item["lmk.npz"]), allow_pickle=False)
    meta = json.loads(item["json"])
    return [item["__key__"], len(sound), rate, lips.shape, landmarks["pts"].shape, meta["text"]]

shards = [sys.argv[1] + f"/train-{i:06d}.tar" for i in range(2)]
print(json.dumps([decode(item) for item in wds.WebDataset(shards, shardshuffle=False)]))
assert not any(name.startswith(("avsep", "pipeline")) for name in sys.modules)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    expected = [
        [s.key, 640 * s.num_frames, 16000, [s.num_frames, 96, 96], [s.num_frames, 68, 3], "wörter"]
        for s in samples
    ]
    assert json.loads(answer.stdout) == expected


def test_plain_needs_nothing_but_tarfile_and_numpy(tmp_path, make_set):
    samples = {sample.key: sample for sample in make_set(tmp_path, "plain")}
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as archive:
            content = {info.name: archive.extractfile(info).read() for info in archive}
        for key in {name.partition(".")[0] for name in content}:
            sample = samples.pop(key)
            assert content[f"{key}.wav"][:4] == b"RIFF"
            sound = np.frombuffer(content[f"{key}.wav"], "<i2", offset=44)
            np.testing.assert_array_equal(sound, sample.audio)
            lips = np.load(io.BytesIO(content[f"{key}.lips.npy"]), allow_pickle=False)
            np.testing.assert_array_equal(lips, sample.lips)
            arrays = np.load(io.BytesIO(content[f"{key}.lmk.npz"]), allow_pickle=False)
            assert set(arrays) == {"pts", "valid", "score", "bbox", "M", "crop_xy"}
            np.testing.assert_array_equal(arrays["pts"], sample.landmarks.points)
            assert json.loads(content[f"{key}.json"]) == sample.meta
    assert not samples


def test_a_failed_write_leaves_nothing_behind(tmp_path, make_sample):
    members = encode_sample(make_sample(), "plain")
    samples = [("clip-b-t0", members, 12), ("clip-a-t0", members, 12)]
    with pytest.raises(ValueError, match="sort samples by key"):
        write_shard(tmp_path / "train-000000.tar", samples, "plain")
    assert list(tmp_path.iterdir()) == []


def test_keys_fit_into_a_tar_header_and_stay_apart():
    assert sample_key("demo-s03-c01", 2) == "demo-s03-c01-t2"
    one, other = sample_key("x" * 150 + "a", 0), sample_key("x" * 150 + "b", 0)
    assert one != other
    assert len(one) == MAX_KEY
    assert len(tar.header(f"{one}.lips.mp4", 1)) == 512


class TestScan:
    def test_agrees_with_tarfile(self, tmp_path, make_set):
        make_set(tmp_path, "compact")
        path = tmp_path / "train-000000.tar"
        with tarfile.open(path) as archive:
            expected = [(info.name, info.offset_data, info.size) for info in archive]
        found = [(f"{m.key}.{m.suffix}", m.offset, m.size) for m in tar.scan(path)]
        assert found == expected

    def test_every_cut_is_seen(self, tmp_path, make_set):
        """Also those at a block, which `tarfile` takes for the end."""
        make_set(tmp_path, "compact", shards=(1,))
        whole = (tmp_path / "train-000000.tar").read_bytes()
        end = max(m.offset + m.size for m in tar.scan(tmp_path / "train-000000.tar"))
        end_mark = end + -end % 512
        cut = tmp_path / "cut.tar"
        for length in [*range(0, end, 512), end - 1, end_mark, end_mark + 512, end_mark + 700]:
            cut.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"cut|damaged"):
                tar.scan(cut)

    def test_anything_after_the_end_mark_is_seen(self, tmp_path, make_set):
        make_set(tmp_path, "compact", shards=(1,))
        path = tmp_path / "train-000000.tar"
        whole = path.read_bytes()
        for content in (whole[:-1] + b"x", whole + bytes(10240), whole + whole):
            path.write_bytes(content)
            with pytest.raises(ValueError, match="end mark"):
                tar.scan(path)

    @pytest.mark.parametrize("name", ["../a.json", "nodot", "a/b.json", ".json", "a..json/"])
    def test_other_names_are_refused(self, tmp_path, name):
        path = tmp_path / "a.tar"
        tar.write(path, [(name, b"x")])
        with pytest.raises(ValueError, match="not a member of a sample"):
            tar.scan(path)

    def test_links_are_refused(self, tmp_path):
        info = tarfile.TarInfo("a-t0.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.addfile(info)
        with pytest.raises(ValueError, match="not a member of a sample"):
            tar.scan(tmp_path / "a.tar")
