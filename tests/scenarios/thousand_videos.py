"""A thousand YouTube ids, 30 % of them dead, through a server on this machine and the real yt-dlp.

    python tests/scenarios/thousand_videos.py [--videos 1000] [--workers 2]

The server answers as YouTube does on a bad day: videos that are gone, shorter than annotated, too
large, broken for good or for once, refusals, and bursts of 429. Then the troubles heal and `avsep
ledger retry` is asked class by class. Prints the counts and what was asked of the server; ends with
1 where a promise does not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from avsep.cli.app import app
from avsep.corpora.youtube import session
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_check import check_ledger
from pipeline.execution.stage import StageReport
from tests.corpora.test_youtube import annotate, of, video_bytes
from tests.scenarios.steps import say
from tests.support.miniature import write_meta
from tests.support.stage_run import run_stage
from tests.support.video_server import VideoServer, serving

# What meets a video, its share, and how its clips end at first.
FATES = {
    "gone": (0.30, "video_gone"),
    "shorter": (0.04, "video_changed"),
    "large": (0.02, "video_restricted"),
    "down": (0.04, "network_trouble"),
    "odd": (0.02, "unrecognised"),
    "hiccup": (0.05, "done"),
    "refused once": (0.03, "done"),
    "cut once": (0.03, "done"),
}
TROUBLE = {"down": [503], "odd": [418], "hiccup": [500], "refused once": [403], "cut once": ["cut"]}
LASTING = ("down", "odd")
THROTTLED_EVERY, THROTTLED_FOR = 400, 4  # requests


class BadDay(VideoServer):
    """Throttles now and again."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "total" and isinstance(value, int) and value % THROTTLED_EVERY == 0:
            self.busy_after, self.busy_for = value, THROTTLED_FOR


def fates(videos: list[str]) -> dict[str, str]:
    """What meets each video, in exact shares and a random order."""
    found = [name for name, (share, _) in FATES.items() for _ in range(round(share * len(videos)))]
    found += ["fine"] * (len(videos) - len(found))
    random.Random(0).shuffle(found)
    return dict(zip(videos, found, strict=True))


def ended(report: StageReport) -> dict[str, int]:
    """Clips by how they ended."""
    return {"done": report.counts.done, **report.counts.dropped, **report.counts.failed}


def retry(workspace: Workspace, kind: str) -> str:
    """`avsep ledger retry`; what it says."""
    said = StringIO()
    with redirect_stdout(said):
        app(
            ["ledger", "retry", "download", "--class", kind, "--root", str(workspace.root)],
            standalone_mode=False,
        )
    print(f"        avsep ledger retry download --class {kind}: {said.getvalue().strip()}")
    return said.getvalue()


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avsep-videos-") as folder, serving(BadDay()) as server:
        copy, workspace = Path(folder) / "copy", Workspace(Path(folder) / "project")
        write_meta(copy)
        videos = [f"vid_{n:05d}-x" for n in range(arguments.videos)]
        fate = fates(videos)
        clips: Counter[str] = Counter()
        for number, video in enumerate(videos):
            for utterance in range(1 + number % 2):
                annotate(copy, video, f"{utterance:05d}", first=5 + 10 * utterance)
                clips[video] += 1
            if fate[video] != "gone":
                server.videos[video] = video_bytes(30 if fate[video] == "shorter" else 60)
            if fate[video] == "large":
                server.videos[video] += b"\0" * 1_100_000
            if fate[video] in TROUBLE:
                server.answers[video] = list(TROUBLE[fate[video]])
                server.answers[video] *= 99 if fate[video] in LASTING else 1
        session.SITE = server.site
        config = of(copy, share=1.0, max_megabytes=1, at_once=arguments.workers, max_pauses=10**6)
        config = replace(config, workers=arguments.workers)

        started = time.monotonic()
        report = run_stage("download", workspace, config=config)
        seconds = time.monotonic() - started
        print(report.sentence())
        print(
            f"        {len(videos)} videos, {server.total} requests, {seconds / len(videos):.3f} s"
            f" a video with {arguments.workers} workers"
        )
        wanted: Counter[str] = Counter()
        for video in videos:
            wanted[FATES.get(fate[video], (0, "done"))[1]] += clips[video]
        say(f"all {clips.total()} clips ended once", report.counts.total == clips.total())
        say(f"each as it should: {dict(wanted)}", ended(report) == dict(wanted))
        say("ledger and disk agree", check_ledger(workspace, deep=True) == [])
        rows = Ledger(workspace.ledger).sources("download")
        fine = {rows[v].attempts for v in videos if fate[v] == "fine"}
        refused = sum(throttled for _, throttled in server.times)
        say(f"{refused} answers were 429, and none counted as an attempt", fine == {1})

        server.asked.clear()
        run_stage("download", workspace, config=config)
        say("a second run asks for nothing", not server.asked)

        server.answers.clear()  # everything heals, even what was gone
        server.videos |= dict.fromkeys(videos, video_bytes())
        for kind, touched in (
            ("transient", "down"),
            ("unrecognised", "odd"),
            ("conditional", "large"),
        ):
            retry(workspace, kind)
            server.asked.clear()
            report = run_stage("download", workspace, config=config)
            mine = {video for video in videos if fate[video] == touched}
            say(f"only the {len(mine)} of that class were asked for", set(server.asked) == mine)
        print(report.sentence())
        dead = {v: n for v, n in clips.items() if fate[v] in ("gone", "shorter")}
        say("what cannot heal stays dropped", report.counts.dropped.total() == sum(dead.values()))
        say("all the rest is done", report.counts.done == clips.total() - sum(dead.values()))
        say("ledger and disk agree", check_ledger(workspace, deep=True) == [])


if __name__ == "__main__":
    main()
