"""The landmark model in OpenVINO equals LiteRT, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from avsep.errors import UsageError
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import backend_facts, tool_versions
from avsep.faces.backends import FaceBackend, Region, create
from avsep.faces.config import FacesConfig
from avsep.faces.engine import config as engine_config
from avsep.faces.extraction import extract_faces
from avsep.faces.pose import inter_ocular

pytest.importorskip("openvino", reason="extra `openvino`")
OPENVINO = {"engine": "openvino"}
COUNT = 15  # batches of 8, 4, 2 and 1


@pytest.fixture(scope="module")
def openvino() -> FaceBackend:
    return create("mediapipe", **OPENVINO)


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


def points(backend: FaceBackend, frames: Sequence, regions: Sequence) -> np.ndarray:
    return np.stack([one.points for one in backend.landmarks(frames, regions)])


def test_landmarks_equal_litert(openvino, heads, regions) -> None:
    reference = points(create("mediapipe"), heads, regions)
    away = (points(openvino, heads, regions) - reference) / inter_ocular(reference)[:, None, None]
    assert np.abs(away).max() < 2e-4  # measured 1e-6
    assert len(np.unique(reference, axis=0)) == COUNT


def test_a_face_does_not_depend_on_its_batch(openvino, heads, regions) -> None:
    together = points(openvino, heads, regions)
    for size in (1, 2, 3, 8):
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


def test_the_engine_is_part_of_what_decides_a_sample() -> None:
    config = ExtractionConfig(backend_options=OPENVINO)
    assert backend_facts(config)["options"] == {"engine": "openvino", "window": 8}
    assert {"openvino", "litert"} <= tool_versions(config).keys()
    assert "openvino" not in tool_versions(ExtractionConfig())


@pytest.mark.parametrize(("vendor", "engine"), [("GenuineIntel", "openvino"), ("AuthenticAMD", "")])
def test_auto_takes_it_on_processors_of_intel(monkeypatch, tmp_path, vendor, engine) -> None:
    processor = tmp_path / "cpuinfo"
    processor.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(engine_config, "PROCESSOR", processor)
    monkeypatch.setattr(engine_config, "_sees_gpu", lambda: False)
    chosen = ExtractionConfig(backend_options={"engine": "auto"}).backend_options
    assert chosen.get("engine", "") == engine


def test_without_the_package_a_sentence_says_so(monkeypatch) -> None:
    monkeypatch.setattr(engine_config, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="engine openvino needs the package openvino"):
        ExtractionConfig(backend_options=OPENVINO)
    monkeypatch.setattr(engine_config, "_sees_gpu", lambda: False)
    assert ExtractionConfig(backend_options={"engine": "auto"}).backend_options == {}
