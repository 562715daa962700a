"""A download that is killed and started again: nothing twice, nothing lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from avsep.schema import RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_check import check_ledger
from tests.corpora import test_youtube
from tests.corpora.test_voxceleb2 import of
from tests.corpora.test_youtube import annotate, video_bytes
from tests.support.miniature import write_meta
from tests.support.stage_run import run_stage
from tests.support.video_server import serving

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from avsep.corpora.youtube import session
from avsep.corpora.youtube.ytdlp import Site
from tests.support.stage_run import run_stage
from avsep.workspace import Workspace
from tests.corpora.test_youtube import of
from tests.support.video_server import _address

server, project, copy = sys.argv[1:]
session.SITE = Site(address=partial(_address, server), extractors=("generic",))
run_stage("download", Workspace(Path(project)), config=of(Path(copy)))
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_a_video_the_next_run_asks_only_for_the_rest(tmp_path):
    copy, workspace = tmp_path / "copy", Workspace(tmp_path / "project")
    write_meta(copy)
    videos = [f"video-{n:05d}" for n in range(5)]
    for video in videos:
        annotate(copy, video)
    with serving() as server:
        server.videos = dict.fromkeys(videos, video_bytes())
        server.hang = videos[2]
        command = [sys.executable, "-c", PROGRAM, server.address, str(workspace.root), str(copy)]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert server.hanging.wait(timeout=500)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        # The generic extractor looks first, then the file is fetched: two requests a video.
        assert server.asked == {videos[0]: 2, videos[1]: 2, videos[2]: 1}
        before = Ledger(workspace.ledger).sources("download")
        assert sorted(before) == videos[:2]
        server.hang = ""
        server.release.set()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("avsep.corpora.youtube.session.SITE", server.site)
            report = run_stage("download", workspace, config=test_youtube.of(copy))
        assert server.asked == {**dict.fromkeys(videos, 2), videos[2]: 3}
    assert report.counts.done == len(read_rows(workspace.raw_table, RawClip)) == 5
    assert check_ledger(workspace, deep=True) == []


def test_killed_while_archives_are_read_the_next_run_reads_the_rest(
    tmp_path,
    archives,
    monkeypatch,
):
    from avsep.corpora import voxceleb2

    workspace, whole = Workspace(tmp_path / "project"), Workspace(tmp_path / "whole")
    config = of(archives, route="archives", checksums="md5.txt")
    run_stage("download", whole, config=config)
    read = []
    original = voxceleb2.read_member

    def counting(archive, member):
        if member.name.endswith(".mp4"):
            read.append(member.name)
            if len(read) == 6:
                raise KeyboardInterrupt
        return original(archive, member)

    monkeypatch.setattr(voxceleb2, "read_member", counting)
    with pytest.raises(KeyboardInterrupt):
        run_stage("download", workspace, config=config)
    (workspace.raw / "voxceleb2" / "id00012" / ".half.tmp.mp4").write_bytes(b"left by a kill")
    assert check_ledger(workspace) == []  # nothing is recorded yet
    run_stage("download", workspace, config=config)
    assert len(read) == 6 + len(read_rows(whole.raw_table, RawClip)) - 5
    assert len(set(read)) == len(read) - 1  # the one that was under way
    assert workspace.raw_table.read_bytes() == whole.raw_table.read_bytes()
    assert check_ledger(workspace, deep=True) == []


def test_the_check_names_each_disagreement(tmp_path, archives):
    workspace = Workspace(tmp_path / "project")
    run_stage("download", workspace, config=of(archives, route="archives", checksums="md5.txt"))
    rows = read_rows(workspace.raw_table, RawClip)
    (workspace.raw / rows[0].path).unlink()
    path = workspace.raw / rows[1].path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (path.parent / "unexpected.mp4").write_bytes(b"x")
    Ledger(workspace.ledger).keep_only("download", [row.clip_id for row in rows[:-1]])
    assert len(check_ledger(workspace)) == 3
    found = " ".join(check_ledger(workspace, deep=True))
    for words in (
        f"its file {rows[0].path} is missing",
        f"{rows[1].path} is not the file that was downloaded",
        "unexpected.mp4 is in no row",
        f"{rows[-1].clip_id} is in raw.parquet and not done",
    ):
        assert words in found
