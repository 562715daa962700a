"""What Prefect costs: the real extract flow over shards that take no time to make.

    python tests/scenarios/prefect_overhead.py [--shards 1129]

Prints seconds of wall clock and of CPU (this process and its server) for the flow, for the same
stage without Prefect, and the memory of this process at a tenth of the way and at the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from prefect.settings import temporary_settings

from avsep.extraction.provenance import clip_hash
from avsep.extraction.records import ClipRecord, save_finished_clip
from avsep.media.pcm import pcm_sha256
from avsep.schema import Clip, Landmarks, Sample
from avsep.shards.codecs import encode_sample
from avsep.tables import write_rows
from avsep.workspace import Workspace
from flows.engine import stage_flow
from flows.server import api_settings
from pipeline.stages import extract
from tests.support.stage_run import run_stage

FRAMES = 1


def instant(job) -> ClipRecord:
    """In place of `extract_clip`: one frame of nothing."""
    key = f"{job.clip.clip_id}-t0"
    audio = np.zeros(640 * FRAMES, np.int16)
    meta = {
        "version": 1, "key": key, "clip_id": job.clip.clip_id, "corpus": "x", "speaker": "x",
        "group": "x", "gender": "", "split": "train", "num_frames": FRAMES,
        "num_samples": len(audio), "multi_voice": False, "level_dbfs": None,
        "audio_sha256": pcm_sha256(audio), "quality": {}, "licence": "", "redistributable": False,
        "text": "", "backend": {}, "source": {},
    }  # fmt: skip
    zeros = np.zeros(FRAMES, np.float16)
    landmarks = Landmarks(
        points=np.zeros((FRAMES, 68, 3), np.float16), valid=zeros.astype(np.uint8), score=zeros,
        box=np.zeros((FRAMES, 4), np.float32), crop_xy=np.zeros((FRAMES, 2), np.float32),
        to_mean_face=np.zeros((FRAMES, 2, 3), np.float32),
    )  # fmt: skip
    lips = np.zeros((FRAMES, 96, 96), np.uint8)
    sample = Sample(key=key, audio=audio, lips=lips, landmarks=landmarks, meta=meta)
    record = ClipRecord(
        clip_id=job.clip.clip_id,
        settings=clip_hash(job.config, job.clip),
        samples=((key, FRAMES),),
    )
    return save_finished_clip(job.folder, record, [(key, encode_sample(sample, "plain"), FRAMES)])


def project(root: Path, shards: int) -> Workspace:
    """A project of one clip a shard."""
    workspace = Workspace(root)
    (root / "data").mkdir(parents=True)
    settings = "{storage: plain, clips_per_shard: 1, workers: 0}"
    (root / "params.yaml").write_text(f"extract: {settings}\n")
    rows = [
        Clip(
            clip_id=f"clip-{number:06d}", corpus="x", speaker="x", group="x", gender="",
            split="train", path="x", sha256="0", size_bytes=1, kept=True,
        )
        for number in range(shards)
    ]  # fmt: skip
    write_rows(workspace.clips / "clips.parquet", rows)
    return workspace


def rss_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1129)
    shards = parser.parse_args().shards
    extract.extract_clip = instant
    extract.check_backend = lambda *_: None
    with tempfile.TemporaryDirectory(prefix="avsep-overhead-") as temporary:
        plain = project(Path(temporary) / "plain", shards)
        started, cpu = time.monotonic(), time.process_time()
        run_stage("extract", plain)
        bare, bare_cpu = time.monotonic() - started, time.process_time() - cpu
        print(f"without Prefect: {bare:.1f} s, {bare_cpu:.1f} s of CPU", flush=True)

        flown = project(Path(temporary) / "flown", shards)
        done = flown.work("extract")
        memory: list[tuple[int, float]] = []

        def watch() -> None:
            while True:
                memory.append((len(list(done.glob("*.done.json"))), rss_mib()))
                time.sleep(2)

        state = Path(temporary) / "prefect"
        with temporary_settings(updates=api_settings(state)):
            flow = stage_flow("extract")
            threading.Thread(target=watch, daemon=True).start()
            started, cpu = time.monotonic(), time.process_time()
            flow(root=str(flown.root))
            wall, used = time.monotonic() - started, time.process_time() - cpu
        print(f"with Prefect: {wall:.1f} s, {used:.1f} s of CPU in the flow's process")
        print(
            f"Prefect's part: {wall - bare:.1f} s, {1000 * (wall - bare) / shards:.1f} ms a shard"
        )
        early = [mib for count, mib in memory if count >= shards / 10]
        print(f"memory: {early[0]:.0f} MiB at a tenth, {max(early):.0f} MiB at most")
        print(f"processors: {os.cpu_count()}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
