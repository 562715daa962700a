"""The engine: MediaPipe's networks on torch equal LiteRT, whoever else is in the batch."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avsep.errors import ItemError, UsageError
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import backend_facts, tool_versions
from avsep.faces.backends import Region, create
from avsep.faces.backends.mediapipe import MediaPipeBackend
from avsep.faces.backends.mediapipe_torch import TorchMediaPipeBackend
from avsep.faces.config import FacesConfig
from avsep.faces.engine import client as client_module
from avsep.faces.engine.client import EngineClient
from avsep.faces.engine.frames import PackedFrames
from avsep.faces.engine.host import EngineHost
from avsep.faces.engine.local import LocalRunner
from avsep.faces.engine.mediapipe_networks import MediaPipeNetworks
from avsep.faces.engine.server import EngineServer
from avsep.faces.engine.wire import FAILED
from avsep.faces.extraction import extract_faces
from avsep.faces.pose import inter_ocular

BATCH = 3
TORCH = {"engine": "torch", "device": "cpu", "batch": BATCH}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    """Pictures of four drawn heads, and one of them in full HD."""
    from avsep.corpora.demo.corpus import DemoClip, talk

    pictures = []
    for speaker in range(4):
        clip = DemoClip(speaker=speaker, number=speaker)
        pictures += [picture for picture, _ in talk(clip, seed=3, num_frames=1).frames]
    wide = np.full((1080, 1920, 3), 90, np.uint8)
    wide[300:524, 1200:1424] = pictures[0]
    return [*pictures, wide]


@pytest.fixture(scope="module")
def litert() -> MediaPipeBackend:
    loaded = create("mediapipe")
    assert isinstance(loaded, MediaPipeBackend)
    return loaded


@pytest.fixture(scope="module")
def networks() -> MediaPipeNetworks:
    return MediaPipeNetworks("cpu", "float", BATCH)


def regions_of(litert: MediaPipeBackend, heads: Sequence[np.ndarray]) -> list[Region]:
    return [litert.detect(head, 60)[0].region for head in heads]


def distances(
    litert: MediaPipeBackend, other: TorchMediaPipeBackend, heads: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the points of two backends, in the plane and in depth, over the eyes' one."""
    regions = regions_of(litert, heads)
    ours, reference = other.landmarks(heads, regions), litert.landmarks(heads, regions)
    size = np.array([inter_ocular(one.points[None])[0] for one in reference])[:, None]
    away = np.stack([a.points - b.points for a, b in zip(ours, reference, strict=True)])
    np.testing.assert_allclose(
        [one.score for one in ours], [one.score for one in reference], atol=1e-3
    )
    for a, b in zip(ours, reference, strict=True):
        assert a.region.side == pytest.approx(b.region.side, rel=0.01)
    return np.hypot(away[..., 0], away[..., 1]) / size, np.abs(away[..., 2]) / size


@pytest.mark.slow
def test_landmarks_equal_litert(
    litert: MediaPipeBackend, networks: MediaPipeNetworks, heads: list[np.ndarray]
) -> None:
    away, depth = distances(litert, TorchMediaPipeBackend(LocalRunner(networks), 4), heads)
    # Measured 0.0002 % and 0.002 %.
    assert np.median(away) < 0.0002
    assert away.max() < 0.001
    assert np.median(depth) < 0.0002


@pytest.mark.slow
def test_landmarks_in_half_precision_are_close_to_litert(
    litert: MediaPipeBackend, heads: list[np.ndarray]
) -> None:
    half = MediaPipeNetworks("cpu", "half", 4)
    away, depth = distances(litert, TorchMediaPipeBackend(LocalRunner(half), 4), heads[:4])
    # Measured 0.04 % and 0.1 %.
    assert np.median(away) < 0.005
    assert np.percentile(away, 99) < 0.02
    assert np.median(depth) < 0.005


@pytest.mark.slow
def test_detections_equal_litert_all_over_a_large_picture(
    litert: MediaPipeBackend, networks: MediaPipeNetworks, heads: list[np.ndarray]
) -> None:
    gallery = np.full((720, 1280, 3), 90, np.uint8)
    for number in range(9):
        y, x = 40 + 220 * (number // 3), 60 + 400 * (number % 3)
        small = cv2.resize(heads[number % 4], (180, 180), interpolation=cv2.INTER_AREA)
        gallery[y : y + 180, x : x + 180] = small
    ours = TorchMediaPipeBackend(LocalRunner(networks), 1)
    for picture in (gallery, heads[0], heads[-1], gallery[:, 60:240], np.zeros_like(gallery)):
        expected, found = litert.detect(picture, 60), ours.detect(picture, 60)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            values = [[f.x, f.y, f.side, f.region.side, f.region.angle] for f in (one, other)]
            np.testing.assert_allclose(values[0], values[1], atol=0.05)
            assert one.score == pytest.approx(other.score, abs=1e-3)
    assert len(ours.detect(gallery, 60)) == 9


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 8])
def test_tracks_are_those_of_litert_where_faces_swap_sides(
    litert: MediaPipeBackend, networks: MediaPipeNetworks, window: int
) -> None:
    from avsep.corpora.demo.corpus import DemoClip, talk

    one, two = (
        [
            picture
            for picture, _ in talk(DemoClip(speaker=s, number=0), seed=1, num_frames=12).frames
        ]
        for s in (0, 1)
    )
    pairs = zip(one, two, strict=True)
    frames = [np.hstack(pair if n < 6 else pair[::-1]) for n, pair in enumerate(pairs)]
    config = FacesConfig(min_track_frames=5)
    expected = extract_faces(iter(frames), config, litert)
    assert [track.span for track in expected] == [(0, 6), (0, 6), (6, 12), (6, 12)]
    found = extract_faces(
        iter(frames), config, TorchMediaPipeBackend(LocalRunner(networks), window)
    )
    assert [track.span for track in found] == [track.span for track in expected]
    for ours, theirs in zip(found, expected, strict=True):
        box, other = ours.landmarks.box, theirs.landmarks.box
        np.testing.assert_allclose(box, other, atol=0.001 if window == 1 else 0.01)
        points = ours.landmarks.points[..., :2].astype(np.float32)
        away = np.abs(points - theirs.landmarks.points[..., :2])
        # They are stored in steps of an eighth of a pixel; ahead, squares of earlier frames serve.
        assert np.median(away) <= (0.125 if window == 1 else 1)


@pytest.mark.slow
def test_no_row_depends_on_its_batch(
    networks: MediaPipeNetworks, litert: MediaPipeBackend, heads: list[np.ndarray]
) -> None:
    regions = np.array([[r.x, r.y, r.side, r.angle] for r in regions_of(litert, heads)])
    together = networks.estimate(heads, list(range(5)), regions)
    for number, head in enumerate(heads):
        alone = networks.estimate([head], [0], regions[number : number + 1])
        assert alone[0].tobytes() == together[number].tobytes()
    order = [3, 2, 4, 0]
    mixed = networks.estimate(heads, order, regions[order])
    assert mixed.tobytes() == together[order].tobytes()
    searched = networks.find(heads, [60] * 5)
    for number, head in enumerate(heads):
        assert networks.find([head], [60])[0].tobytes() == searched[number].tobytes()


def test_a_square_outside_the_picture_repeats_its_edge_or_is_black() -> None:
    picture = np.full((20, 30, 3), 200, np.uint8)
    packed = PackedFrames([np.zeros((5, 5, 3), np.uint8), picture], "cpu")
    outside = np.array([[[1.0, 0, 25], [0, 1.0, -4]]])
    repeated = packed.squares([1], outside, 8, replicate=True)
    assert (repeated == 200).all()
    black = packed.squares([1], outside, 8, replicate=False)[0, 0].numpy()
    assert (black[:3] == 0).all()
    assert (black[4:, :5] == 200).all()
    assert (black[:, 5:] == 0).all()


# --- the process


class Sums:
    """Networks whose rows say which picture and region they saw.

    Attributes:
        runs: number of rows of each call.
        out_of_memory: number of calls that still end with the device out of memory.
    """

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.out_of_memory = 0
        self.gate = threading.Event()
        self.gate.set()

    def _begin(self, rows: int) -> None:
        self.runs.append(rows)
        self.gate.wait()
        if self.out_of_memory:
            self.out_of_memory -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def find(self, frames: Sequence[np.ndarray], smallest: Sequence[int]) -> list[np.ndarray]:
        self._begin(len(frames))
        pairs = zip(frames, smallest, strict=True)
        return [np.array([[frame.sum(), side]], np.float64) for frame, side in pairs]

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        self._begin(len(numbers))
        if any(frame.max() == 255 for frame in frames):
            raise RuntimeError("no picture for me")
        sums = np.array([frames[number].sum() for number in numbers], np.float64)
        return np.concatenate([sums[:, None], regions], axis=1)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Sums, Path]]:
    sums, path = Sums(), tmp_path / "engine"
    server = EngineServer(sums, path, batch=1000)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield sums, path
    sums.gate.set()
    server.stop()
    thread.join()


def in_threads(jobs: Sequence[threading.Thread]) -> None:
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()


def test_requests_of_many_workers_share_runs_and_get_their_own_rows(
    served: tuple[Sums, Path],
) -> None:
    sums, path = served
    rng = np.random.default_rng(0)
    wrong: list[str] = []

    def work(worker: int) -> None:
        own = EngineClient(path)
        size = (4 + worker, 6, 3)
        for turn in range(10):
            frames = [np.full(size, worker + turn + n, np.uint8) for n in range(3)]
            numbers = [0, 2, 1, 2] * (1 + 20 * (turn == 9))  # more than one request can hold
            regions = rng.normal(size=(len(numbers), 4))
            rows = own.estimate(frames, numbers, regions)
            expected = [frames[number].sum() for number in numbers]
            if rows[:, 0].tolist() != expected or not np.array_equal(rows[:, 1:], regions):
                wrong.append(f"{worker} {turn}")
            if own.find(frames[1], 30).tolist() != [[frames[1].sum(), 30]]:
                wrong.append(f"{worker} {turn} find")
        own.close()

    in_threads([threading.Thread(target=work, args=(worker,)) for worker in range(6)])
    assert wrong == []
    assert max(sums.runs) > 4, "several workers in one run"


@pytest.mark.slow
def test_no_memory_costs_a_wait_and_an_error_only_the_one_who_caused_it(
    served: tuple[Sums, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sums, path = served
    monkeypatch.setattr(client_module, "MEMORY_WAITS_S", (0.01, 0.01))
    good, bad = (np.full((4, 4, 3), level, np.uint8) for level in (1, 255))
    one, other = EngineClient(path), EngineClient(path)
    sums.out_of_memory = 2
    assert one.find(good, 5)[0, 0] == 48
    sums.out_of_memory = 3
    with pytest.raises(ItemError, match="CUDA out of memory"):
        one.find(good, 5)
    results: list[object] = []

    def ask(who: EngineClient, frame: np.ndarray) -> None:
        try:
            results.append(float(who.estimate([frame], [0], np.zeros((1, 4)))[0, 0]))
        except ItemError as error:
            results.append(error.message)

    sums.gate.clear()
    first = threading.Thread(target=one.find, args=(good, 5))
    first.start()
    deadline = time.monotonic() + 60
    while len(sums.runs) < 6:  # the engine is at work, so the next two come together
        assert time.monotonic() < deadline
        time.sleep(0.01)
    third = EngineClient(path)
    pair = [threading.Thread(target=ask, args=pair) for pair in ((other, good), (third, bad))]
    for thread in pair:
        thread.start()
    time.sleep(0.2)
    sums.gate.set()
    for thread in [first, *pair]:
        thread.join()
    assert sorted(map(str, results))[0] == "48.0"
    assert "no picture for me" in str(results)
    for who in (one, other, third):
        who.close()


def test_what_no_worker_says_ends_only_its_connection(served: tuple[Sums, Path]) -> None:
    from avsep.faces.engine.wire import Arena, connect, receive, send

    _, path = served
    arena = Arena.create(48)
    for message in (
        {"frames": [[0, 4, 4]], "alone": False, "smallest": 1},
        {"frames": [[1 << 20, 4, 5]], "alone": False, "smallest": 1},
        {"frames": [[1 << 20, 4, 4]], "alone": False, "numbers": [1], "regions": [[0, 0, 1, 0]]},
        {"frames": [[1 << 20, 4, 4]], "alone": False, "numbers": [0], "regions": []},
        {"frames": [[1 << 20, 4, 4]], "alone": False, "numbers": [0], "regions": [[0, 0, "x"]]},
        {"frames": 7},
        {},
    ):
        stranger = connect(path)
        send(stranger, message, arena.descriptor)
        with pytest.raises(ConnectionError):
            receive(stranger)
        stranger.close()
    arena.close()
    own = EngineClient(path)
    assert own.find(np.full((4, 4, 3), 1, np.uint8), 5)[0, 0] == 48
    own.close()


def test_a_request_that_is_never_taken_ends_with_a_sentence(served: tuple[Sums, Path]) -> None:
    own = EngineClient(served[1])
    with pytest.raises(ItemError, match="refused it 8 times"):
        own.estimate([np.ones((4, 4, 3), np.uint8)], [0], np.full((1, 4), np.nan))
    assert own.find(np.full((4, 4, 3), 1, np.uint8), 5)[0, 0] == 48
    own.close()


def test_an_error_of_the_driver_ends_the_engine_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avsep.faces.engine.wire import Arena, connect, send

    def broken(*_: object) -> list[np.ndarray]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    sums, arena = Sums(), Arena.create(48)
    monkeypatch.setattr(sums, "find", broken)
    server = EngineServer(sums, tmp_path / "engine", batch=1)
    worker = connect(tmp_path / "engine")
    message = {"frames": [[1 << 20, 4, 4]], "alone": False, "smallest": 1}
    send(worker, message, arena.descriptor)
    with pytest.raises(torch.AcceleratorError):
        server.serve()
    assert arena.busy, "so the worker counts this death"
    worker.close()


@pytest.mark.slow
def test_an_engine_that_is_killed_costs_a_second_try_and_changes_no_byte(
    networks: MediaPipeNetworks, litert: MediaPipeBackend, heads: list[np.ndarray]
) -> None:
    options = {"device": "cpu", "precision": "float", "batch": BATCH}
    regions = np.array([[r.x, r.y, r.side, r.angle] for r in regions_of(litert, heads)])
    expected = networks.estimate(heads, list(range(5)), regions)
    host = EngineHost("mediapipe", options)
    try:
        own = EngineClient(host.address)
        assert own.estimate(heads, list(range(5)), regions).astype(np.float32).tobytes() == (
            expected.tobytes()
        )
        for delay_s in (0.0, 0.1):
            victim = host.process
            killer = threading.Timer(delay_s, os.kill, (victim.pid, signal.SIGKILL))
            killer.start()
            for _ in range(2):
                rows = own.estimate(heads, list(range(5)), regions)
                assert rows.astype(np.float32).tobytes() == expected.tobytes()
            killer.join()
            assert victim.wait(timeout=60) == -signal.SIGKILL
        own.close()
    finally:
        host.close()
    assert not host.address.parent.exists()


def test_an_engine_that_cannot_start_is_said_once_and_for_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from avsep.faces.engine import host as host_module

    monkeypatch.setattr(host_module.sys, "executable", "/bin/false")
    host = EngineHost("mediapipe", {})
    try:
        with pytest.raises(ItemError, match="ended 4 times before it had started"):
            EngineClient(host.address).find(np.zeros((4, 4, 3), np.uint8), 5)
    finally:
        host.close()


def test_an_engine_that_dies_often_but_had_started_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from avsep.faces.engine import host as host_module

    script, starts = tmp_path / "python", tmp_path / "starts"
    script.write_text(f'#!/bin/sh\ntouch "$3"\necho >> {starts}\nexit 1\n')
    script.chmod(0o700)
    monkeypatch.setattr(host_module.sys, "executable", str(script))
    host = EngineHost("mediapipe", {})
    try:
        deadline = time.monotonic() + 60
        while not starts.exists() or len(starts.read_text()) <= 2 * host_module.MAX_FAILED_STARTS:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not (host.address.parent / FAILED).exists()
    finally:
        host.close()


# --- settings


def test_the_engine_is_part_of_what_decides_a_sample() -> None:
    litert = ExtractionConfig()
    assert litert == ExtractionConfig(backend_options={"engine": "litert"})
    assert backend_facts(litert)["options"] == {}
    ours = ExtractionConfig(backend_options=TORCH)
    assert backend_facts(ours)["options"] == {
        "engine": "torch", "precision": "float", "batch": BATCH, "window": 8
    }  # fmt: skip
    assert "torch" in tool_versions(ours)
    assert "litert" not in tool_versions(ours)


def test_gpus_get_half_precision_and_large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = ExtractionConfig(backend_options={"engine": "auto"}).backend_options
    assert chosen["device"] == "cuda"
    assert chosen["precision"] == "half"
    assert chosen["batch"] >= 64
    on_cpu = ExtractionConfig(backend_options={"engine": "auto", "device": "cpu"})
    assert on_cpu.backend_options.get("engine") != "torch"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"engine": "onnx"}, "engine"),
        ({"engine": "torch", "precision": "int8"}, "precision"),
        ({"engine": "torch", "batch": -1}, "batch is -1"),
        ({"engine": "torch", "batch": "many"}, "batch"),
        ({"device": "cuda"}, "engine litert has no option device"),
        ({"engine": "openvino", "batch": 8}, "engine openvino has no option batch"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], text: str) -> None:
    with pytest.raises((UsageError, ValueError), match=text):
        ExtractionConfig(backend_options=options)


@pytest.mark.parametrize("value", [0, -1, 2000, 1.5, True, "many"])
@pytest.mark.parametrize("key", ["batch", "window"])
def test_sizes_of_face_alignment_are_checked_with_the_settings(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{key} is {value!r}"):
        ExtractionConfig(backend="face_alignment", backend_options={key: value})
    ExtractionConfig(backend="face_alignment", backend_options={key: 4})
