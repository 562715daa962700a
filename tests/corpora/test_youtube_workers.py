"""Several worker processes and a server that throttles: one breaker for all of them."""

import logging
from dataclasses import replace
from itertools import pairwise

import pytest

from avsep.corpora.youtube import session
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_check import check_ledger
from tests.corpora.test_youtube import annotate, of, states, video_bytes
from tests.support.miniature import write_meta
from tests.support.stage_run import run_stage
from tests.support.video_server import serving

WORKERS = 3
PAUSE_S = 1.5


@pytest.mark.slow
def test_throttling_pauses_all_worker_processes_and_loses_no_video(tmp_path, monkeypatch, caplog):
    copy, workspace = tmp_path / "copy", Workspace(tmp_path / "project")
    write_meta(copy)
    videos = [f"video-{n:05d}" for n in range(12)]
    for video in videos:
        annotate(copy, video)
    config = of(
        copy, at_once=WORKERS, tries=2, unknown_tries=1, pause_s=PAUSE_S, max_pause_s=PAUSE_S
    )
    with serving() as server:
        monkeypatch.setattr(session, "SITE", server.site)
        server.videos = dict.fromkeys(videos, video_bytes())
        server.busy_after, server.busy_for = 8, 5
        with caplog.at_level(logging.WARNING):
            report = run_stage("download", workspace, config=replace(config, workers=WORKERS))
        times = list(server.times)
    assert report.counts.done == len(videos)
    assert states(workspace) == dict.fromkeys(videos, "done")
    attempts = [row.attempts for row in Ledger(workspace.ledger).sources("download").values()]
    assert attempts == [1] * len(videos)  # a throttled try is not an attempt
    assert check_ledger(workspace, deep=True) == []
    assert not (workspace.work("download") / "videos" / "throttled.json").exists()

    # All workers learn of the first refusal at once; each may be in the middle of one video,
    # which takes two requests.
    gaps = [b - a for (a, _), (b, _) in pairwise(times)]
    refused = [n for n, (_, throttled) in enumerate(times) if throttled]
    assert len(refused) == server.busy_for
    first = next(n for n in range(refused[0], len(gaps)) if gaps[n] > 0.9 * PAUSE_S)
    assert first - refused[0] < 2 * WORKERS
    # After a pause one worker tests the site; if it is refused, all pause again.
    late = [n for n in refused if n > first]
    assert all(gaps[n] > 0.9 * PAUSE_S for n in late)
    assert caplog.text.count("all downloads pause") == 1 + len(late) >= 2
