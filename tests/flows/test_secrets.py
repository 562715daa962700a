"""What is given by environment alone is in nothing that the flows and the report write."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml

from avsep.corpora.keyed_download import KEY_VARIABLE
from avsep.corpora.youtube.config import COOKIES_VARIABLE
from tests.corpora.test_youtube import A, B, C, D, annotate, video_bytes
from tests.support.miniature import write_meta
from tests.support.processes import all_end
from tests.support.video_server import serving

ROOT = Path(__file__).parents[2]
SECRETS = {"cookie": "verysecret", "file": "jar-of-mine", "key": "my-very-own-key"}
PROGRAM = """
import sys
from functools import partial
from flows.stages import main
from avsep.corpora.youtube import config, session
from avsep.corpora.youtube.ytdlp import Site
from tests.support.video_server import _address

server, *rest = sys.argv[1:]
session.SITE = Site(address=partial(_address, server), extractors=("generic",))


def run(stage):
    sys.argv = ["flows.stages", stage, *rest]
    main()


run("download")
run("report")
config.os.environ[config.COOKIES_VARIABLE] += ".gone"
try:
    run("download")
except SystemExit as error:
    print("ended with", error.code)
"""


def project_of(root: Path, copy: Path) -> Path:
    youtube = {
        "allowed": True, "sleep_s": [0, 0], "retry_delay_s": 0, "pause_s": 0.05, "tries": 2,
        "box_scale": 1, "size": 64, "rate_limit_mb_s": 1000,
    }  # fmt: skip
    download = {
        "corpus": "voxceleb2", "workers": 0, "max_failed_share": 0.5, "youtube": youtube,
        "voxceleb2": {"root": str(copy), "route": "youtube"},
    }  # fmt: skip
    root.mkdir()
    (root / "params.yaml").write_text(yaml.safe_dump({"download": download, "report": {}}))
    return root


def wait_for_the_server(state: Path) -> None:
    """It ends soon after its last flow; then its database is whole."""
    found = psutil.process_iter(["cmdline"])
    assert all_end([one.pid for one in found if str(state) in (one.info["cmdline"] or ())])


@pytest.mark.slow
def test_secrets_are_in_no_parameter_artifact_log_ledger_or_report(tmp_path: Path):
    copy, project = tmp_path / "copy", project_of(tmp_path / "project", tmp_path / "copy")
    write_meta(copy)
    for video in (A, B, C, D):
        annotate(copy, video)
    jar = tmp_path / f"{SECRETS['file']}.txt"
    jar.write_text(
        "# Netscape HTTP Cookie File\n"
        f"127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\t{SECRETS['cookie']}\n"
    )  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        COOKIES_VARIABLE: str(jar),
        KEY_VARIABLE: SECRETS["key"],
    }
    with serving() as server:
        server.videos = dict.fromkeys((A, B, C), video_bytes())
        server.answers[B] = [500] * 50
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, server.address, "--root", str(project)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ended with 2" in done.stdout
    assert f"the file that {COOKIES_VARIABLE} names cannot be read" in done.stderr
    assert any(f"SID={SECRETS['cookie']}" in headers for headers in server.headers)

    state = project / "data" / ".work" / "prefect"
    wait_for_the_server(state)
    with closing(sqlite3.connect(next((state / "home").glob("*.db")))) as database:
        parameters = [json.loads(p) for (p,) in database.execute("SELECT parameters FROM flow_run")]
        artifacts = {key for (key,) in database.execute("SELECT key FROM artifact")}
        [(states,)] = database.execute("SELECT count(*) FROM flow_run_state")
    # That it is there, and what is asked below means something.
    assert parameters == [{"root": str(project), "model": ""}] * 3
    assert {"download-summary", "report-summary"} <= artifacts
    assert states >= 6
    assert "video_gone 1" in (project / "data" / "report" / "index.html").read_text("utf-8")

    written = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for secret in SECRETS.values():
        assert secret not in done.stdout + done.stderr
        assert [path for path, content in written.items() if secret.encode() in content] == []
