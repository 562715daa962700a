"""The index: mapped, looked up without Python objects per row, and never the way to wrong bytes."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from avsep.bench.synthetic_index import SCORES, write_synthetic_set
from avsep.cli.app import app
from avsep.errors import CheckError
from avsep.files import sha256_file
from avsep.shards import places, tar
from avsep.shards.index import ARROW_NAME, INDEX_NAME, IndexRow, read_index, same_row, write_index
from avsep.shards.manifest import MANIFEST_NAME, read_manifest, write_manifest
from avsep.shards.store import ShardStore
from avsep.shards.verify import verify_set
from tests.support.old_shards import as_format_1


def make_row(number: int, **changes) -> IndexRow:
    values = {
        "key": f"clip-{number:02d}-t0", "shard": f"train-{number // 2:06d}.tar", "clip_id": "c",
        "corpus": "test", "speaker": f"s{number % 3}", "group": "g", "gender": "",
        "split": "train", "num_frames": 10 + number, "multi_voice": number == 1,
        "level_dbfs": -20.5, "audio_sha256": "ab", "text": "wörter",
        "quality": {"blur": 0.5, "lag": math.nan} if number else {},
        "offsets": (512, 2048), "sizes": (100, 7),
    }  # fmt: skip
    return IndexRow(**values | changes)


def rewrite_arrow(directory, change) -> None:
    with pa.ipc.open_file(str(directory / ARROW_NAME)) as source:
        table = change(source.read_all())
    with pa.ipc.new_file(str(directory / ARROW_NAME), table.schema) as sink:
        sink.write_table(table)


@pytest.fixture
def directory(tmp_path, make_set):
    make_set(tmp_path / "set", "compact", shards=(3, 2))
    return tmp_path / "set"


def test_a_set_opens_below_a_folder_whose_name_is_not_utf8(directory):
    odd = directory.parent / "set \udcff"
    directory.rename(odd)
    assert len(ShardStore(odd).index) == 5


def sounds(store: ShardStore) -> dict[str, bytes]:
    return {row.key: store.audio(row.key).tobytes() for row in store.index}


class TestIndex:
    def test_rows_come_back_sorted_whatever_order_they_are_written_in(self, tmp_path):
        rows = [make_row(number) for number in range(7)]
        write_index(tmp_path, reversed(rows))
        index = read_index(tmp_path)
        assert len(index) == 7
        for found in (list(index), index[:], [index[i] for i in range(-7, 0)]):
            assert [row.key for row in found] == [row.key for row in rows]
            assert all(same_row(*pair) for pair in zip(found, rows, strict=True))
            assert all((r.offsets, r.sizes) == ((512, 2048), (100, 7)) for r in found)
        with pytest.raises(IndexError):
            index[7]

    def test_an_absent_score_stays_absent_and_an_unknown_one_unknown(self, tmp_path):
        write_index(tmp_path, [make_row(0), make_row(1)])
        first, second = read_index(tmp_path)
        assert first.quality == {}
        assert list(second.quality) == ["blur", "lag"]
        assert math.isnan(second.quality["lag"])
        assert np.isnan(read_index(tmp_path).scores()["blur"]).tolist() == [True, False]

    def test_samples_are_found_by_key_and_by_speaker(self, tmp_path):
        # In the order of the shards the keys are not sorted.
        rows = [make_row(n, shard=f"train-{9 - n:06d}.tar") for n in range(9)]
        write_index(tmp_path, rows)
        index = read_index(tmp_path)
        for row in rows:
            assert index[index.position(row.key)].key == row.key
        for unknown in ("", "a", "clip-04", "clip-04-t00", "z"):
            assert index.position(unknown) is None
        for speaker in ("s0", "s1", "s2"):
            found = [index[int(number)] for number in index.positions("speaker", speaker)]
            assert sorted(r.key for r in found) == [r.key for r in rows if r.speaker == speaker]
        assert not len(index.positions("speaker", "nobody"))
        codes, names = index.codes("speaker")
        assert [names[code] for code in codes] == [row.speaker for row in index]
        assert index.column("num_frames").tolist() == [row.num_frames for row in index]
        assert index.column("num_samples").tolist() == [640 * row.num_frames for row in index]

    def test_rows_without_any_score_or_place_come_back(self, tmp_path):
        rows = [make_row(n, quality={}, offsets=(), sizes=()) for n in range(3)]
        write_index(tmp_path, rows)
        assert list(read_index(tmp_path)) == rows

    @pytest.mark.parametrize("lost", ["text", "num_samples", "by_key"])
    def test_a_mapped_index_without_a_column_is_refused(self, directory, lost):
        rewrite_arrow(directory, lambda table: table.drop_columns([lost]))
        for manifest in (None, read_manifest(directory)):
            with pytest.raises(CheckError, match=rf"it lacks {lost}; run `avsep shards reindex`"):
                read_index(directory, manifest)

    @pytest.mark.parametrize("order", [[0, 1, 2, 3, 5], [0, 1, 2, -1, 4], [0, 1, 2, None, 4]])
    def test_a_mapped_index_whose_order_names_no_rows_is_refused(self, directory, order):
        def change(table):
            place = table.column_names.index("by_key")
            return table.set_column(place, "by_key", pa.array(order, pa.int32()))

        rewrite_arrow(directory, change)
        for manifest in (None, read_manifest(directory)):
            with pytest.raises(CheckError, match=r"by_key (is int32 with 1 gaps|goes from .* bey)"):
                read_index(directory, manifest)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("num_frames", lambda c: c.cast(pa.int32())),
            ("num_frames", lambda c: c.cast(pa.string())),
            ("num_frames", lambda c: pa.array([10, None, 12, 13, 14], pa.int64())),
            ("level_dbfs", lambda c: c.cast(pa.float32())),
            ("key", lambda c: c.cast(pa.large_string())),
            ("key", lambda c: pa.array(["a", None, "c", "d", "e"])),
            ("shard", lambda c: c.cast(pa.string())),
            ("speaker", lambda c: c.cast(pa.string()).dictionary_encode().cast(
                pa.dictionary(pa.int8(), pa.string()))),
            ("offsets", lambda c: pa.array([[1.0]] * 5)),
            ("sizes", lambda c: pa.array([1] * 5)),
            ("quality", lambda c: pa.array(["good"] * 5)),
            ("quality", lambda c: pa.array([{"blur": "good"}] * 5)),
            ("multi_voice", lambda c: pa.array([0, 1, 0, 1, 0])),
            ("by_key", lambda c: c.cast(pa.int64())),
            ("num_samples", lambda c: c.cast(pa.float64())),
        ],
    )  # fmt: skip
    def test_a_mapped_index_with_other_types_is_refused(self, directory, name, change):
        """Also when its manifest has its hash, as a program of another version may leave it."""

        def other(table):
            column = change(table[name])
            return table.set_column(table.column_names.index(name), name, column)

        rewrite_arrow(directory, other)
        with pytest.raises(CheckError, match=f"index.arrow is not an index of shards: {name} is"):
            read_index(directory)
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        with pytest.raises(CheckError, match=f"index.arrow is not an index of shards: {name} is"):
            ShardStore(directory)
        assert verify_set(directory)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda t: t.take([4, 3, 2, 1, 0]), "its rows are not in the order of the shards"),
            (lambda t: t.append_column("num_frames", t["num_frames"]), "it has num_frames twice"),
        ],
    )
    def test_rows_or_columns_that_are_not_those_of_an_index_are_refused(
        self, directory, change, said
    ):
        rewrite_arrow(directory, change)
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        for read in (read_index, ShardStore):
            with pytest.raises(CheckError, match=said):
                read(directory)

    @pytest.mark.parametrize("code", [-1, 7])
    def test_a_code_that_stands_for_nothing_is_refused(self, directory, code):
        def other(table):
            codes = pa.array([0, 0, 0, code, 0], pa.int32())
            names = table["shard"].chunk(0).dictionary
            column = pa.DictionaryArray.from_arrays(codes, names, safe=False)
            return table.set_column(table.column_names.index("shard"), "shard", column)

        rewrite_arrow(directory, other)
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        with pytest.raises(CheckError, match=r"shard goes from .* beyond the|is damaged"):
            ShardStore(directory)

    @pytest.mark.parametrize("name", ["text", "sizes", "shard"])
    def test_places_outside_the_file_are_refused(self, directory, name):
        """Also with a hash that fits: reading there would end the process."""

        def other(table):
            column = table[name].combine_chunks()
            coded = isinstance(column, pa.DictionaryArray)
            values = column.dictionary if coded else column
            valid, places, *rest = values.buffers()
            places = np.frombuffer(places, np.int32).copy()
            places[1] += 1 << 20
            if coded:
                made = pa.Array.from_buffers(
                    values.type, len(values), [valid, pa.py_buffer(places), *rest]
                )
                made = pa.DictionaryArray.from_arrays(column.indices, made, safe=False)
            elif name == "sizes":
                made = pa.ListArray.from_arrays(pa.array(places[: len(column) + 1]), column.values)
            else:
                made = pa.Array.from_buffers(
                    column.type, len(column), [valid, pa.py_buffer(places), *rest]
                )
            return table.set_column(table.column_names.index(name), name, made)

        rewrite_arrow(directory, other)
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        for read in (read_index, ShardStore):
            with pytest.raises(CheckError, match=r"index\.arrow is damaged"):
                read(directory)

    def test_an_empty_index_is_an_index(self, tmp_path):
        write_index(tmp_path, [])
        index = read_index(tmp_path)
        assert (len(index), list(index), index.position("a")) == (0, [], None)
        assert not len(index.positions("speaker", "a"))

    def test_the_parquet_file_says_the_same_to_other_programs(self, directory):
        import pyarrow.parquet as pq

        table = pq.read_table(directory / INDEX_NAME).to_pylist()
        for row, values in zip(read_index(directory), table, strict=True):
            assert values["num_samples"] == 640 * row.num_frames
            for name, offset, size in zip(
                ("flac", "json", "lips.mp4", "lmk.npz"),
                values["offsets"],
                values["sizes"],
                strict=True,
            ):
                member = tar.Member(row.key, name, offset, size)
                assert len(tar.read(directory / row.shard, member)) == size

    def test_opening_makes_no_object_per_row(self, tmp_path):
        def peak_bytes(count):
            write_synthetic_set(tmp_path / str(count), count)
            tracemalloc.start()
            store = ShardStore(tmp_path / str(count))
            key = store.index.text("key", count // 2)
            assert store.num_frames(key) == store.row(key).num_frames
            assert len(store.index.positions("speaker", store.row(key).speaker))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

        peak_bytes(500)  # imports
        assert peak_bytes(1000) > 0.5 * peak_bytes(10_000)

    def test_synthetic_rows_are_rows(self, tmp_path):
        write_synthetic_set(tmp_path, 1200)
        index = ShardStore(tmp_path).index
        assert {row.split for row in index} == {"train", "val"}
        assert index[0].quality.keys() == set(SCORES)
        assert len({row.key for row in index}) == 1200
        assert [row.key for row in index] == [
            row.key for row in sorted(index, key=lambda row: (row.shard, row.key))
        ]


class TestFormat1:
    def test_opens_and_gives_the_same_samples(self, directory):
        wanted = sounds(ShardStore(directory))
        rows = list(read_index(directory))
        store = ShardStore(as_format_1(directory))
        assert store.manifest.version == 1
        assert sounds(store) == wanted
        assert all(same_row(*pair) for pair in zip(store.index, rows, strict=True))
        assert verify_set(directory) == []

    def test_reindex_makes_the_index_that_a_new_set_has(self, directory):
        new = (directory / ARROW_NAME).read_bytes()
        as_format_1(directory)
        kept = {path.name: sha256_file(path) for path in directory.glob("*.[tp]a*")}
        result = CliRunner().invoke(app, ["shards", "reindex", str(directory)])
        assert (result.exit_code, "5 samples in 2 shards" in result.output) == (0, True)
        assert {path.name: sha256_file(path) for path in directory.glob("*.[tp]a*")} == kept
        assert (directory / ARROW_NAME).read_bytes() == new

    def test_reindex_twice_changes_nothing(self, directory):
        places.reindex_set(as_format_1(directory))
        files = {path.name: sha256_file(path) for path in directory.iterdir()}
        assert places.reindex_set(directory).version == 2
        assert {path.name: sha256_file(path) for path in directory.iterdir()} == files
        assert verify_set(directory, deep=True) == []

    @pytest.mark.parametrize("listed", [True, False])
    @pytest.mark.parametrize("damage", ["cut", "of another type", "gone"])
    def test_reindex_makes_a_damaged_index_anew(self, directory, damage, listed):
        path = directory / ARROW_NAME
        right, wanted = path.read_bytes(), sounds(ShardStore(directory))
        if damage == "cut":
            path.write_bytes(right[: len(right) // 2])
        elif damage == "of another type":
            rewrite_arrow(
                directory, lambda t: t.drop_columns(["key"]).append_column("key", t["by_key"])
            )
        else:
            path.unlink()
        if listed and damage != "gone":  # in the manifest, with the hash that it has
            manifest = read_manifest(directory)
            write_manifest(directory, manifest.shards, manifest.storage)
        assert places.reindex_set(directory).version == 2
        assert path.read_bytes() == right
        assert sounds(ShardStore(directory)) == wanted
        assert verify_set(directory) == []

    def test_reindex_needs_the_table(self, directory):
        (directory / INDEX_NAME).unlink()
        assert places.reindex_set(directory).version == 2  # there is nothing to do
        (directory / ARROW_NAME).write_bytes(b"")
        with pytest.raises(CheckError, match=r"index\.parquet is missing"):
            places.reindex_set(directory)
        (directory / INDEX_NAME).write_bytes(b"changed")
        with pytest.raises(CheckError, match=r"index\.parquet does not match manifest"):
            places.reindex_set(directory)

    def test_a_kill_before_the_manifest_leaves_the_old_set(self, directory, monkeypatch):
        wanted = sounds(ShardStore(as_format_1(directory)))
        with monkeypatch.context() as patch:
            patch.setattr(places, "write_manifest", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                places.reindex_set(directory)
        assert (directory / ARROW_NAME).is_file()
        store = ShardStore(directory)
        assert store.manifest.version == 1
        assert sounds(store) == wanted
        assert places.reindex_set(directory).version == 2

    def test_a_shard_of_another_set_is_refused(self, directory):
        as_format_1(directory)
        shard = directory / "train-000000.tar"
        files = [(f"{m.key}.{m.suffix}", tar.read(shard, m)) for m in tar.scan(shard)]
        tar.write(shard, [(n.replace("-01-", "-0x-"), content) for n, content in files])
        with pytest.raises(CheckError, match=r"train-000000\.tar: it does not match index\.parq"):
            places.reindex_set(directory)
        assert not (directory / ARROW_NAME).exists()


class TestDamage:
    @pytest.mark.parametrize("name", [ARROW_NAME, INDEX_NAME])
    @pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
    def test_a_cut_or_changed_index_is_one_sentence(self, directory, name, share):
        whole = (directory / name).read_bytes()
        place = int(share * len(whole))
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        for content in (whole[:place], changed):
            (directory / name).write_bytes(content)
            with pytest.raises(CheckError, match=f"{name} does not match manifest.json"):
                ShardStore(directory)
            assert name in {problem.file for problem in verify_set(directory)}

    def test_either_file_is_enough_to_read_and_verify_names_the_missing_one(self, directory):
        wanted = sounds(ShardStore(directory))
        for name in (ARROW_NAME, INDEX_NAME):
            content = (directory / name).read_bytes()
            (directory / name).unlink()
            assert sounds(ShardStore(directory)) == wanted
            assert [str(p) for p in verify_set(directory)] == [f"{name}: is missing."]
            (directory / name).write_bytes(content)
        for name in (ARROW_NAME, INDEX_NAME):
            (directory / name).unlink()
        with pytest.raises(CheckError, match=r"index\.parquet is missing"):
            ShardStore(directory)

    @pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
    def test_a_cut_index_is_refused_without_its_manifest_too(self, directory, share):
        path = directory / ARROW_NAME
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(CheckError, match=r"index\.arrow is damaged"):
            read_index(directory)

    @pytest.mark.parametrize("shift", [1, 512, -512, 10_240])
    def test_places_of_something_else_never_give_a_sample(self, directory, shift):
        rows = list(read_index(directory))
        moved = replace(rows[1], offsets=tuple(offset + shift for offset in rows[1].offsets))
        write_index(directory, [rows[0], moved, *rows[2:]])
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        store = ShardStore(directory)
        for read in (store.audio, store.lips, store.landmarks, store.meta):
            read(rows[0].key)
            with pytest.raises(CheckError, match=r"000000\.tar, sample clip-01-t0"):
                read(rows[1].key)
        assert "is not where index.arrow says" in str(verify_set(directory)[0])

    def test_an_index_of_another_set_never_gives_a_sample(self, directory, tmp_path, make_set):
        """Its shards have the same names; the manifest was made anew from what lies there."""
        make_set(tmp_path / "other", "compact", shards=(3, 2), frames=9)
        for name in (ARROW_NAME, INDEX_NAME):
            (directory / name).write_bytes((tmp_path / "other" / name).read_bytes())
        with pytest.raises(CheckError, match="does not match manifest"):
            ShardStore(directory)
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        store = ShardStore(directory)
        for row in store.index:
            for read in (store.audio, store.lips, store.landmarks, store.meta):
                with pytest.raises(
                    CheckError, match=rf"{row.shard}, sample {row.key}|{row.shard}:"
                ):
                    read(row.key)

    @pytest.mark.parametrize("made_anew", [True, False])
    def test_an_index_that_is_older_than_the_table_is_refused_or_named(self, directory, made_anew):
        rows = list(read_index(directory))
        old = (directory / ARROW_NAME).read_bytes()
        write_index(directory, [replace(rows[0], speaker="other"), *rows[1:]])
        (directory / ARROW_NAME).write_bytes(old)
        with pytest.raises(CheckError, match=r"index\.parquet does not match manifest"):
            ShardStore(directory)
        if made_anew:
            manifest = read_manifest(directory)
            write_manifest(directory, manifest.shards, manifest.storage)
        assert "index.arrow: has other rows than index.parquet." in map(str, verify_set(directory))

    def test_a_size_beyond_the_shard_is_refused_before_memory_is_taken(self, tmp_path):
        huge = tar.Member("clip-a-t0", "wav", 512, 7 << 30)
        (tmp_path / "a.tar").write_bytes(tar.header("clip-a-t0.wav", huge.size) + bytes(1024))
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"a\.tar is cut inside clip-a-t0\.wav"):
            tar.read(tmp_path / "a.tar", huge)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()

    @pytest.mark.parametrize("offset", [-1, 0, 511, 1 << 40])
    def test_places_outside_the_shard_are_one_sentence(self, directory, offset):
        rows = list(read_index(directory))
        moved = replace(rows[0], offsets=(offset, *rows[0].offsets[1:]))
        write_index(directory, [moved, *rows[1:]])
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        with pytest.raises(CheckError, match=r"train-000000\.tar, sample clip-00-t0"):
            ShardStore(directory).audio(rows[0].key)

    def test_rows_that_have_swapped_places_never_give_each_others_samples(self, directory):
        rows = list(read_index(directory))
        one, two = rows[:2]
        swapped = [
            replace(one, offsets=two.offsets, sizes=two.sizes),
            replace(two, offsets=one.offsets, sizes=one.sizes),
        ]
        write_index(directory, [*swapped, *rows[2:]])
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        store = ShardStore(directory)
        for key in (one.key, two.key):
            with pytest.raises(CheckError, match=r"does not match the index"):
                store.lips(key)

    def test_a_change_after_opening_is_noticed_by_the_next_process(self, directory):
        import pickle

        state = pickle.dumps(ShardStore(directory))
        rows = list(read_index(directory))
        write_index(directory, [replace(rows[0], speaker="other"), *rows[1:]])
        with pytest.raises(CheckError, match="does not match"):
            pickle.loads(state)
        manifest = read_manifest(directory)
        write_manifest(directory, manifest.shards, manifest.storage)
        with pytest.raises(CheckError, match="has changed while it was in use"):
            pickle.loads(state)


def test_manifests_of_unknown_formats_say_what_to_do(directory):
    text = (directory / MANIFEST_NAME).read_text("utf-8")
    (directory / MANIFEST_NAME).write_text(text.replace('"version": 2', '"version": 3'), "utf-8")
    with pytest.raises(CheckError, match="has version 3; this program reads 1 and 2: update avsep"):
        ShardStore(directory)
