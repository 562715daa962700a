"""Frames per second of avsep's extraction beside other tools for landmarks, on the same video.

    pip install mediapipe dlib-bin face_recognition_models
    python tests/scenarios/landmark_tools.py [VIDEO] [--tools avsep mediapipe] [--turns 3]

Each tool is called as its own documents show, from the file to the points of each frame, in
processes of its own, in turns. avsep also cuts the mouths and encodes the sample. face-alignment's
networks get random weights, which take as long as its own; the face that its detector would find
is given. The video is a rendered clip if none is named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import resources
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

FACE_ALIGNMENT_BATCH, FRAME_MS = 8, 40
Points = Callable[[Path], int]  # from a video to the number of its frames with a face


def pictures(video: Path) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB, as people read them."""
    capture = cv2.VideoCapture(str(video))
    if capture.get(cv2.CAP_PROP_FPS) != 1000 / FRAME_MS:
        sys.exit("the video must have 25 frames per second.")
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


def avsep(engine: str) -> Points:
    from avsep.bench.extract import whole_file
    from avsep.extraction.clip import encoded_samples
    from avsep.extraction.config import ExtractionConfig

    settings = ExtractionConfig(backend_options={"engine": engine})

    def points(video: Path) -> int:
        samples = encoded_samples(video, whole_file(video), settings)
        return max(frames for *_, frames in samples)

    return points


def mediapipe() -> Points:
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions, vision

    task = resources.files("avsep.faces") / "data" / "face_landmarker_v2.task"
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=task.read_bytes()),
        running_mode=vision.RunningMode.VIDEO,
    )

    landmarker = vision.FaceLandmarker.create_from_options(options)
    times = count(step=FRAME_MS)  # they must grow, over all videos

    def points(video: Path) -> int:
        images = (Image(ImageFormat.SRGB, frame) for frame in pictures(video))
        found = (landmarker.detect_for_video(image, next(times)) for image in images)
        return sum(bool(one.face_landmarks) for one in found)

    return points


def dlib() -> Points:
    import dlib

    spec = find_spec("face_recognition_models")  # its own code needs an old setuptools
    if spec is None or spec.origin is None:
        raise ImportError("face_recognition_models is missing")
    model = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    detect = dlib.get_frontal_face_detector()
    predict = dlib.shape_predictor(str(model))

    def points(video: Path) -> int:
        found = ([predict(frame, box) for box in detect(frame)] for frame in pictures(video))
        return sum(map(bool, found))

    return points


def face_alignment() -> Points:
    import torch
    from face_alignment import api
    from face_alignment.detection.sfd.net_s3fd import s3fd

    class RandomWeights(api.FaceAlignment):
        """As it is made by default, without the download."""

        def _load_native(self, name: str, size: int, device: str, dtype: Any) -> torch.nn.Module:
            return api.FAN(size).eval()

        def _load_native_depth(self, device: str, dtype: Any) -> torch.nn.Module:
            return api.ResNetDepth().eval()

    detector = s3fd()
    for name, layer in detector.named_modules():
        if name.endswith("mbox_conf"):  # no face: the boxes of random weights are thousands
            torch.nn.init.constant_(layer.bias, -9.0)
            layer.bias.data[:-1] = 9.0
    with tempfile.TemporaryDirectory() as folder:
        torch.save(detector.state_dict(), weights := f"{folder}/s3fd.pth")
        aligner = RandomWeights(
            api.LandmarksType.THREE_D,
            device="cpu",
            face_detector_kwargs={"path_to_detector": weights},
        )

    def points(video: Path) -> int:
        frames, faces = pictures(video), 0
        while batch := list(islice(frames, FACE_ALIGNMENT_BATCH)):
            tensor = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
            assert not any(map(len, aligner.face_detector.detect_from_batch(tensor)))
            height, width = batch[0].shape[:2]
            box = np.array([width * 0.3, height * 0.2, width * 0.7, height * 0.8, 0.9])
            found = aligner.get_landmarks_from_batch(tensor, [[box]] * len(batch))
            faces += sum(len(one) > 0 for one in found)
        return faces

    return points


TOOLS: dict[str, Callable[[], Points]] = {
    "avsep": lambda: avsep("litert"),
    "avsep_openvino": lambda: avsep("openvino"),
    "mediapipe": mediapipe,
    "dlib": dlib,
    "face_alignment": face_alignment,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--here", choices=list(TOOLS), help="measure one tool in this process")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measured(TOOLS[given.here](), given.video)))
        return
    with ExitStack() as stack:
        video = given.video or rendered(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        frames = sum(1 for _ in pictures(video))
        found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in given.tools}
        for _ in range(given.turns):
            for name in given.tools:
                command = [sys.executable, __file__, str(video), "--here", name]
                run = subprocess.run(command, capture_output=True, text=True)
                if run.returncode:
                    print(f"{name}: {(run.stderr or 'killed').splitlines()[-1]}")
                else:
                    found[name].append(json.loads(run.stdout.splitlines()[-1]))
    print(f"{video.name}, {frames} frames; {os.cpu_count()} cores; medians of {given.turns} turns")
    for name, turns in found.items():
        if turns:
            wall, cpu, faces = (statistics.median(values) for values in zip(*turns, strict=True))
            print(
                f"{name:16} {frames / wall:8.1f} frames/s, {frames / cpu:8.1f} frames per CPU"
                f" second, a face in {faces} frames"
            )


def measured(tool: Points, video: Path) -> tuple[float, float, int]:
    """Wall and processor seconds for the video, once all is loaded, and frames with a face."""
    tool(video)
    wall, cpu = time.perf_counter(), time.process_time()
    faces = tool(video)
    return time.perf_counter() - wall, time.process_time() - cpu, faces


def rendered(folder: Path) -> Path:
    """A clip of the demo corpus."""
    from avsep.corpora.demo.corpus import DemoClip, write_clip

    write_clip(DemoClip(speaker=0, number=0), path := folder / "demo.mp4", seed=1)
    return path


if __name__ == "__main__":
    main()
