"""The landmark model in OpenVINO equals LiteRT, whoever else is in the batch, and tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from avsep.errors import UsageError
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import backend_facts, tool_versions
from avsep.faces import backends
from avsep.faces.backends import Region, check_backend, create
from avsep.faces.backends.mediapipe import MediaPipeBackend
from avsep.faces.config import FacesConfig
from avsep.faces.engine import config as engine_config
from avsep.faces.extraction import extract_faces
from avsep.faces.pose import inter_ocular

OPENVINO = {"engine": "openvino"}
COUNT = 15  # batches of 4, 2 and 1
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def openvino() -> MediaPipeBackend:
    if find_spec("openvino") is None:
        pytest.skip("extra `openvino`")
    loaded = create("mediapipe", **OPENVINO)
    assert isinstance(loaded, MediaPipeBackend)
    assert type(loaded._mesh).__name__ == "OpenVinoMesh"
    assert loaded.window == 4
    return loaded


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    from avsep.corpora.demo.corpus import DemoClip, talk

    clip = DemoClip(speaker=1, number=2)
    return [picture for picture, _ in talk(clip, seed=3, num_frames=COUNT).frames]


@pytest.fixture(scope="module")
def regions(heads: Sequence[np.ndarray]) -> list[Region]:
    """Each a little elsewhere."""
    found = create("mediapipe").detect(heads[0], 60)[0].region
    return [replace(found, x=found.x + number / 4) for number in range(len(heads))]


def points(backend, frames: Sequence, regions: Sequence) -> np.ndarray:
    return np.stack([one.points for one in backend.landmarks(frames, regions)])


def test_landmarks_equal_litert(openvino, heads, regions) -> None:
    reference = points(create("mediapipe"), heads, regions)
    away = (points(openvino, heads, regions) - reference) / inter_ocular(reference)[:, None, None]
    assert np.abs(away).max() < 2e-4  # measured 1e-6
    assert len(np.unique(reference, axis=0)) == COUNT


def test_a_face_does_not_depend_on_its_batch(openvino, heads, regions) -> None:
    together = points(openvino, heads, regions)
    for size in (1, 2, 3, 4):
        parts = [
            points(openvino, heads[i : i + size], regions[i : i + size])
            for i in range(0, COUNT, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), together)
    assert openvino.landmarks([], []) == []


def test_tracks_are_those_of_litert(openvino, heads) -> None:
    config = FacesConfig(min_track_frames=1)
    (ours,) = extract_faces(iter(heads), config, openvino)
    (theirs,) = extract_faces(iter(heads), config, create("mediapipe"))
    own, other = (one.landmarks.points.astype(np.float64) for one in (ours, theirs))
    away = (own - other)[..., :2] / inter_ocular(other)[:, None, None]
    assert np.median(np.abs(away)) < 0.005  # regions differ: measured 0.002 and 0.02
    assert np.abs(away).max() < 0.03


def test_each_process_may_use_every_core(openvino, heads, regions) -> None:
    allowed, main = os.sched_getaffinity(0), threading.main_thread().native_id
    seen, over = set(), threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.add(frozenset(os.sched_getaffinity(main)))

    watcher = threading.Thread(target=look)
    watcher.start()
    points(openvino, heads * 2, regions * 2)
    over.set()
    watcher.join()
    assert seen == {frozenset(allowed)}


def test_nothing_is_written_or_sent(openvino, tmp_path) -> None:
    """Its import tells Google Analytics, and keeps a number for that in the home folder."""
    environment = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    code = (
        "from avsep.faces.backends import create\n"
        "import sys\n"
        "create('mediapipe', engine='openvino')\n"
        "assert 'openvino' in sys.modules\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=ROOT, check=True,
        env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_engine_is_part_of_what_decides_a_sample() -> None:
    config = ExtractionConfig(backend_options=OPENVINO)
    assert backend_facts(config)["options"] == {"engine": "openvino", "window": 4}
    assert "litert" in tool_versions(config)
    assert "openvino" not in tool_versions(ExtractionConfig())


def test_its_version_too(openvino) -> None:
    assert "openvino" in tool_versions(ExtractionConfig(backend_options=OPENVINO))


@pytest.mark.parametrize(
    ("vendor", "installed", "engine"),
    [("GenuineIntel", True, "openvino"), ("GenuineIntel", False, ""), ("AuthenticAMD", True, "")],
)
def test_auto_takes_it_where_it_is_faster(monkeypatch, tmp_path, vendor, installed, engine) -> None:
    processor = tmp_path / "cpuinfo"
    processor.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(engine_config, "PROCESSOR", processor)
    monkeypatch.setattr(engine_config, "find_spec", lambda name: installed or None)
    monkeypatch.setattr(engine_config, "_sees_gpu", lambda: False)
    chosen = ExtractionConfig(backend_options={"engine": "auto"}).backend_options
    assert chosen.get("engine", "") == engine


def test_without_the_package_a_sentence_says_so_before_the_work(monkeypatch) -> None:
    config = ExtractionConfig(backend_options=OPENVINO)  # other stages read it too
    missing = {"openvino"}
    monkeypatch.setattr(
        backends, "find_spec", lambda name: None if name in missing else find_spec(name)
    )
    with pytest.raises(UsageError, match="engine openvino needs the package openvino"):
        check_backend("mediapipe", config.backend_options)
