"""Values that no person would write: they come back as they were, or end with one sentence.

`test_fuzz.py` damages the bytes of whole files; here hypothesis makes the values in them.
`AVSEP_FUZZ` is the number of examples per test; `make test-faults` asks for many.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import pickle
import typing

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avsep.corpora.annotation_file import parse_annotation
from avsep.corpora.speaker_list import COLUMNS, read_speaker_list
from avsep.errors import CheckError, ItemError, UsageError, printable
from avsep.expression import Expression
from avsep.faces.landmark_files import read_landmarks
from avsep.files import dump_json, inside, read_json, read_jsonl, write_json, write_jsonl
from avsep.mixing.external_lists import read_external_list
from avsep.mixing.recipes import read_recipes
from avsep.schema import Clip, RawClip
from avsep.settings import build
from avsep.shards import tar
from avsep.shards.codecs import META_KEYS, decode_json
from avsep.shards.index import IndexRow, read_index, row_of, same_row, write_index
from avsep.shards.manifest import _checksum, manifest_of
from avsep.tables import read_rows, write_rows
from pipeline.stages import STAGES
from tests.support.synthetic_workspace import make_workspace

EXAMPLES = int(os.environ.get("AVSEP_FUZZ", "15"))
FULL = bool(os.environ.get("AVSEP_FAULTS"))

# The same values each time in the usual tests; new ones in the long run.
tried = settings(
    max_examples=EXAMPLES,
    derandomize=not FULL,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
texts = st.text(max_size=30)
numbers = st.one_of(st.integers(-(1 << 70), 1 << 70), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, st.just(10**400))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(texts, numbers), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("structured")


def places(config: type, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where a setting of a config may stand; its sections too."""
    found = []
    for name, hint in typing.get_type_hints(config).items():
        found.append((*path, name))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found += places(hint, (*path, name))
    return found


PLACES = [(name, place) for name, stage in STAGES.items() for place in places(stage.config)]


@tried
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=3))
def test_settings_of_any_kind_are_a_config_or_one_sentence(changes):
    for (stage, place), value in changes:
        *sections, name = place
        given_values: dict[str, object] = {name: value}
        for section in reversed(sections):
            given_values = {section: given_values}
        try:
            made = build(STAGES[stage].config, given_values, stage)
        except UsageError as error:
            said(error, stage)
        else:
            assert all(math.isfinite(v) for v in vars(made).values() if isinstance(v, float))


def said(error: Exception, name: str) -> None:
    """Pass where a sentence names what is wrong."""
    assert name in str(error)
    assert len(str(error)) < 5_000


@tried
@given(value=values)
def test_yaml_of_any_values_is_read_or_refused(folder, value):
    from avsep.settings import read_settings

    path = folder / "x.yaml"
    path.write_text(yaml.dump(value, allow_unicode=True), "utf-8", "surrogatepass")
    try:
        assert isinstance(read_settings(path), dict)
    except UsageError as error:
        said(error, path.name)


raw_clips = st.builds(
    RawClip,
    clip_id=st.from_regex(r"\A[A-Za-z0-9_-]{1,20}\Z"),
    corpus=texts,
    speaker=st.just("s"),
    group=st.just("g"),
    gender=st.sampled_from(["", "f", "m"]),
    split=st.sampled_from(["train", "val", "test"]),
    path=texts,
    sha256=texts,
    size_bytes=st.integers(-(1 << 63), (1 << 63) - 1),
    licence=texts,
    redistributable=st.booleans(),
    text=texts,
    video=texts,
    origin=texts,
    annotation=st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
    words=st.just(("a", "b")),
    word_times_s=st.tuples(*[st.floats(allow_nan=False)] * 4),
)


@tried
@given(rows=st.lists(raw_clips, max_size=3))
@pytest.mark.slow
def test_rows_come_back_as_they_were(folder, rows):
    write_rows(folder / "rows.parquet", rows, RawClip)
    assert read_rows(folder / "rows.parquet", RawClip) == rows
    with pytest.raises(CheckError, match="is not a table of Clip"):
        read_rows(folder / "rows.parquet", Clip)


@tried
@given(value=values)
def test_json_comes_back_or_is_refused_when_it_is_written(folder, value):
    try:
        write_json(folder / "x.json", value)
        write_jsonl(folder / "x.jsonl", [value, value])
    except (ValueError, TypeError):  # NaN; keys of two kinds
        return
    again = json.loads(json.dumps(value))
    assert dump_json(read_json(folder / "x.json")) == dump_json(again)
    assert len(read_jsonl(folder / "x.jsonl")) == 2


@pytest.fixture(scope="module")
def manifest(folder):
    shards = make_workspace(folder / "set", num_frames=25).shards
    return json.loads((shards / "manifest.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def meta(folder):
    shard = next(make_workspace(folder / "other", num_frames=25).shards.glob("*.tar"))
    member = next(member for member in tar.scan(shard) if member.suffix == "json")
    return decode_json(tar.read(shard, member))


@tried
@given(data=st.data())
def test_a_manifest_with_any_value_anywhere_is_damaged(manifest, data):
    content = json.loads(json.dumps(manifest))
    del content["checksum"]
    place = content
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        before, place[key] = place[key], data.draw(values)
        break
    try:
        content["checksum"] = _checksum(content)
    except (ValueError, TypeError):
        return
    try:
        manifest_of(content, "manifest.json")
    except CheckError as error:
        said(error, "manifest.json")
    else:  # a hash or a version may be another text, and its files then do not match it
        assert type(place[key]) is type(before) or place[key] == before


@tried
@given(data=st.data())
@pytest.mark.slow
def test_an_index_comes_back_as_it_was(folder, data):
    names = st.from_regex(r"\A[A-Za-z0-9_-]{1,12}\Z")
    rows = data.draw(
        st.lists(
            st.builds(
                IndexRow, key=names, shard=names.map(lambda name: f"{name}.tar"), clip_id=names,
                corpus=texts, speaker=names, group=names, gender=st.sampled_from(["", "f", "m"]),
                split=st.sampled_from(["train", "val", "test"]), num_frames=st.integers(0, 1 << 40),
                multi_voice=st.booleans(), level_dbfs=st.floats(), audio_sha256=texts, text=texts,
                quality=st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
                offsets=st.lists(st.integers(0, 1 << 40), max_size=4).map(tuple),
                sizes=st.lists(st.integers(0, 1 << 40), max_size=4).map(tuple),
            ), min_size=1, max_size=4, unique_by=lambda row: row.key,
        )
    )  # fmt: skip
    write_index(folder, rows)
    found = read_index(folder)
    assert len(found) == len(rows)
    for row in rows:
        position = found.position(row.key)
        assert position is not None
        assert same_row(found[position], row)
        assert found.places(position) == (row.offsets, row.sizes)


@tried
@given(changes=st.dictionaries(st.sampled_from(sorted(META_KEYS)), values, min_size=1, max_size=2))
def test_what_json_members_hold_is_an_index_row_or_a_value_error(meta, changes):
    try:
        content = json.dumps(meta | changes).encode("utf-8", "surrogatepass")
    except TypeError:
        return
    try:
        row_of(decode_json(content), "x.tar")
    except (ValueError, TypeError, AttributeError, KeyError):  # what `rows_of_shard` catches
        return


members = st.lists(
    st.tuples(
        st.from_regex(r"\A[A-Za-z0-9_-]{1,20}\.(json|flac|lips\.mp4)\Z"), st.binary(max_size=1_500)
    ),
    max_size=5,
)


@tried
@given(files=members, cut=st.floats(0, 1))
def test_shards_come_back_and_their_cut_copies_do_not(folder, files, cut):
    path = folder / "x.tar"
    tar.write(path, files)
    found = tar.scan(path)
    assert [(f"{m.key}.{m.suffix}", tar.read(path, m)) for m in found] == files
    content = path.read_bytes()
    # The end of a tar is empty blocks, of which one is enough.
    stop = int(cut * (len(content.rstrip(b"\0")) if files else 0))
    path.write_bytes(content[:stop])
    with pytest.raises(ValueError, match=r"cut|damaged"):
        tar.scan(path)


cells = st.one_of(texts, st.sampled_from(["a.mp4", "../a.mp4", "=1+1", "f", "train", "\0", '"']))


@tried
@given(rows=st.lists(st.lists(cells, min_size=1, max_size=7), max_size=4), columns=st.booleans())
def test_a_list_of_speakers_is_read_or_refused(folder, rows, columns):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([list(COLUMNS)] * columns + rows)
    path = folder / "s.csv"
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    try:
        found = read_speaker_list(folder, path.name, [".mp4"])
    except UsageError as error:
        said(error, "s.csv")
        return
    for name, entry in found.items():
        assert not name.startswith(("/", "..")), name
        assert entry.speaker.strip()


words = st.one_of(
    texts,
    st.sampled_from(["FRAME", "WORD", "Text:", "Conf:", "0", "1", "nan", "1e400", "-1", ":", "\t"]),
)
lines = st.lists(st.lists(words, max_size=6).map(" ".join), max_size=6).map("\n".join)


@tried
@given(text=lines)
def test_annotations_and_lists_of_any_words_are_read_or_refused(folder, text):
    content = text.encode("utf-8", "surrogatepass")
    try:
        found = parse_annotation(content, "x.txt")
        assert all(map(math.isfinite, found.scores.values()))
    except ItemError as error:
        said(error, "x.txt")
    for suffix in (".scp", ".csv"):
        path = folder / f"list{suffix}"
        path.write_bytes(content)
        with pytest.raises(CheckError, match=f"list{suffix}"):
            read_external_list(path)


points = st.one_of(
    st.none(),
    values,
    st.just(np.zeros((68, 2), np.float32)),
    st.just({"facial_landmarks": np.ones((68, 3))}),
    st.just([[1.5, 2]] * 68),
    st.just([np.float64(3.0)] * 68),
    st.sampled_from(["<f2", ">f8", "<i4", "u1", "?", "<c8", "S3"]).map(
        lambda kind: np.zeros((68, 2), kind)
    ),
)


@tried
@given(frames=st.lists(points, max_size=4), protocol=st.integers(0, 5))
def test_pickles_of_any_values_are_landmarks_or_refused(folder, frames, protocol):
    path = folder / "x.pkl"
    path.write_bytes(pickle.dumps(frames, protocol))
    try:
        found = read_landmarks(path)
    except ItemError as error:
        said(error, "x.pkl")
        return
    for frame, read in zip(frames, found, strict=True):
        frame = frame.get("facial_landmarks") if isinstance(frame, dict) else frame
        assert (frame is None) == (read is None)
        if read is not None:
            wanted = np.asarray(frame, np.float64)[:, :2].astype(np.float32)
            assert np.array_equal(read, wanted)


@tried
@given(value=st.lists(values, min_size=1, max_size=3))
def test_recipes_of_any_values_are_refused(folder, value):
    path = folder / "x.jsonl"
    try:
        path.write_text("".join(json.dumps(row) + "\n" for row in value))
    except TypeError:
        return
    with pytest.raises(CheckError, match=r"x\.jsonl"):
        read_recipes(path)


PARTS = [*"ab1-+*/<()[],.", "1e999", "'x'", "==", "abs(", "min(", "has(", "lambda", "**"]
PARTS += ["10" * 300, " in ", " and ", " or ", "not ", " if ", "\n", "\0"]
names = st.sampled_from("ab")


@tried
@given(
    pieces=st.lists(st.sampled_from(PARTS), max_size=12),
    scores=st.dictionaries(st.sampled_from("ab"), scalars),
)
def test_an_expression_of_any_parts_selects_or_is_refused(pieces, scores):
    known = {
        name: value
        for name, value in scores.items()
        if isinstance(value, float | str) and not isinstance(value, bool)
    }
    try:
        found = Expression("".join(pieces))
        assert found.selects(known) in (True, False, None)
        assert isinstance(found.why_not(known), str)
    except ValueError:
        pass


@tried
@given(names=st.lists(st.text(max_size=300), min_size=1, max_size=3))
def test_a_path_stays_in_its_folder_or_is_refused(folder, names):
    try:
        path = inside(folder, *names)
    except CheckError:
        return
    assert os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)
    assert len(path.relative_to(folder).parts) == len(names)


@tried
@given(text=st.text())
def test_what_is_printed_is_one_plain_line(text):
    assert printable(text).isprintable()
