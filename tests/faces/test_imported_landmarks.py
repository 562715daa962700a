import os
import pickle

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.cli.landmarks import convert_landmarks
from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.faces.backends.imported import ImportedLandmarks, open_imported
from avsep.faces.config import FacesConfig
from avsep.faces.extraction import extract_faces
from avsep.faces.landmark_files import read_landmarks, write_npy
from avsep.faces.plain_pickle import PlainPickleError, load_plain
from avsep.schema import Clip
from tests.support.clip_maker import raw_clip


def face(x: float, y: float) -> np.ndarray:
    """68 points around (x, y), 80 pixels wide, with eyes, a nose and a mouth where they belong."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-40, 40, (68, 2))
    points[36:42] = rng.uniform(-4, 4, (6, 2)) + np.array([-20, -15])
    points[42:48] = rng.uniform(-4, 4, (6, 2)) + np.array([20, -15])
    points[33] = [0, 8]
    points[48:68] = rng.uniform(-10, 10, (20, 2)) + np.array([0, 25])
    return (points + np.array([x, y])).astype(np.float32)


def track(count: int, missing: tuple[int, ...] = ()) -> list:
    return [None if i in missing else face(110 + i * 0.5, 110) for i in range(count)]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.int16])
def test_lists_of_arrays_are_read_from_any_protocol(tmp_path, protocol, kind):
    frames = [face(1, 2).astype(kind), None, face(3, 4).astype(kind)]
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(frames, protocol=protocol))
    read = read_landmarks(path)
    assert read[1] is None
    for place in (0, 2):
        np.testing.assert_array_equal(read[place], frames[place].astype(np.float32))


def test_frames_that_are_dicts_are_read_too(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([{"facial_landmarks": face(1, 2), "id": 0}, None]))
    assert read_landmarks(path)[0].shape == (68, 2)


class Evil:
    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([Evil(os.system, "touch ran")]),
        pickle.dumps([Evil(eval, "1 + 1")]),
        pickle.dumps([Evil(np.load, "x")]),
        pickle.dumps([np.array([object()], object)]),
        pickle.dumps(Evil(np.core.multiarray._reconstruct, np.ndarray, (10**12,), b"b")),
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L1000000000000L\ntS'b'\ntR.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # says that 8 EiB follow
        pickle.dumps({"a": 1}),
        pickle.dumps([[1, 2, 3]]),
        pickle.dumps([np.full((68, 2), np.nan)]),
        pickle.dumps([face(1, 1)])[:-40],
        b"",
        b"not a pickle",
    ],
    ids=range(13),
)
def test_pickles_that_run_code_or_are_not_a_list_of_points_are_refused(
    tmp_path, content, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(ItemError) as caught:
        read_landmarks(path)
    assert caught.value.reason is Reason.BAD_ANNOTATION
    assert not (tmp_path / "ran").exists()


def test_only_the_names_of_numeric_arrays_are_known():
    for name in (
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"cos\nsystem\n.",
        b"cnumpy\nfromfile\n.",
    ):
        with pytest.raises(PlainPickleError, match="is not allowed"):
            load_plain(name)


def frames(count: int):
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 255, (224, 224, 3), np.uint8)
    return (picture for _ in range(count))


def test_an_imported_face_is_cropped_and_scored_like_any_other():
    points = track(40, missing=(20, 21))
    backend = ImportedLandmarks(points)
    [sample] = extract_faces(backend.counted(frames(40)), FacesConfig(), backend)
    assert sample.lips.shape == (40, 96, 96)
    valid = sample.landmarks.valid
    assert [int(v) for v in valid[[0, 19, 20, 21, 39]]] == [1, 1, 2, 2, 1]
    assert sample.scores["missing_share"] == pytest.approx(2 / 40)
    assert (sample.landmarks.points[..., 2] == 0).all()


def test_the_file_of_a_clip_is_found_by_its_name_in_the_corpus(tmp_path):
    root = tmp_path / "landmarks"
    origin = "id00012/-4WQ2xQlAbc/00001"
    path = root / "dev" / f"{origin}.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(track(50)))
    (tmp_path / "x.mp4").write_bytes(b"x")
    raw = raw_clip(tmp_path / "x.mp4", origin=origin)
    clip = Clip(**vars(raw), kept=True, start_s=0.0, end_s=2.0)
    backend = open_imported({"root": str(root)}, clip, 50)
    assert len(list(backend.counted(frames(3)))) == 3
    with pytest.raises(ItemError, match="has 50 frames, the clip has 60"):
        open_imported({"root": str(root)}, clip, 60)
    path.unlink()
    with pytest.raises(ItemError) as caught:
        open_imported({"root": str(root)}, clip, 50)
    assert caught.value.reason is Reason.FILE_MISSING
    with pytest.raises(UsageError, match=r"backend_options\.root"):
        open_imported({}, clip, 50)


def test_published_files_become_npy_with_the_same_points(tmp_path, capsys):
    source, out = tmp_path / "pkl", tmp_path / "npy"
    path = source / "dev" / "id00012" / "00001.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(track(30, missing=(4,))))
    words = ["convert-landmarks", str(source), "--out", str(out)]
    assert CliRunner().invoke(app, words).output == f"{out}: 1 landmark files.\n"
    npy = out / "dev" / "id00012" / "00001.npy"
    for one, other in zip(read_landmarks(path), read_landmarks(npy), strict=True):
        if one is None:
            assert other is None
        else:
            np.testing.assert_array_equal(one, other)
    (source / "bad.pkl").write_bytes(b"no")
    with pytest.raises(CheckError, match="1 of 2 landmark files"):
        convert_landmarks(source, out)
    assert "bad.pkl: it " in capsys.readouterr().err


def test_a_npy_that_is_not_such_landmarks_is_named(tmp_path):
    path = tmp_path / "x.npy"
    good = np.zeros((3, 68, 2), np.float32)
    objects = np.array([object()], object)
    half = good.copy()
    half[1, 5] = np.nan
    for array in (good.astype(np.float64), good[:, :5], half, objects):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ItemError) as caught:
            read_landmarks(path)
        assert caught.value.reason is Reason.BAD_ANNOTATION
    write_npy(path, [None, good[0]])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ItemError, match="its size is not that of"):
        read_landmarks(path)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 68, 2), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ItemError, match="its size is not"):
        read_landmarks(path)
