"""A finished project to a folder, to an S3 server and back, and its shards in a second repository.

    python tests/scenarios/dvc_remotes.py PROJECT [--moto MOTO_SERVER]

PROJECT is a folder in which `dvc repro` has run (its data and dvc.lock; it is only read). With
`--moto` the remote is a real S3 server on this machine: the path of `moto_server` in an environment
of its own (`pip install 'moto[server,s3]'`); `dvc-s3` must be beside `dvc`. Each step prints what
it took; the script ends with 1 where a promise does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from steps import commit, copy_finished, run, say

LEFT_OUT = ("raw", ".work", "ledger.sqlite", "ledger.sqlite-shm", "ledger.sqlite-wal", "README.md")


def hashes(data: Path) -> dict[str, str]:
    """The md5 of every tracked file below a folder."""
    return {
        str(path.relative_to(data)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.relative_to(data).parts[0] not in LEFT_OUT
    }


@contextlib.contextmanager
def s3_server(moto: Path) -> Iterator[str]:
    """Run an S3 server with one bucket, `lab`; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [str(moto), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/moto-api/"):
                break
            time.sleep(0.2)
        urllib.request.urlopen(urllib.request.Request(f"{url}/lab", method="PUT")).close()
        yield url
    finally:
        server.terminate()
        server.wait()


def clone_restores(source: Path, clone: Path, *, remote: str, wanted: dict[str, str]) -> None:
    """Clone, and hold `dvc repro --pull` to computing nothing."""
    run(clone.parent, "git", "clone", "-q", str(source), clone.name)
    run(clone, "dvc", "remote", "default", remote)
    started = time.monotonic()
    said = run(clone, "dvc", "repro", "--pull")
    seconds = time.monotonic() - started
    say(f"`dvc repro --pull` ran no stage ({seconds:.1f} s)", "Running stage" not in said)
    say(f"all {len(wanted)} files came back as they were", hashes(clone / "data") == wanted)
    say("the raw clips are absent and not missed", not (clone / "data" / "raw").exists())


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--moto", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avsep-remotes-") as temporary:
        here = Path(temporary)
        lab = here / "lab"
        copy_finished(arguments.project, lab)
        wanted = hashes(lab / "data")
        run(lab, "dvc", "remote", "add", "folder", str(here / "remote"))
        run(lab, "dvc", "remote", "default", "folder")
        commit(lab, "a finished project")
        run(lab, "dvc", "push")
        clone_restores(lab, here / "from-folder", remote="folder", wanted=wanted)

        other = here / "other"
        other.mkdir()
        run(other, "git", "init", "-q")
        run(other, "dvc", "init", "-q")
        run(other, "dvc", "import", str(lab), "data/shards", "-o", "shards")
        shards = {name: h for name, h in wanted.items() if name.startswith("shards/")}
        say(
            "a second repository imported the shards alone", hashes(other) | shards == hashes(other)
        )
        run(here, "dvc", "get", str(lab), "data/mixtures", "-o", "mixtures")
        code = (
            "from avsep.shards import open_shards\n"
            "print(sum(1 for _ in open_shards('shards')), 'samples')"
        )
        say(
            f"they are read there: {run(other, sys.executable, '-c', code).split(chr(10))[0]}", True
        )

        if arguments.moto:
            with s3_server(arguments.moto) as url:
                run(lab, "dvc", "remote", "add", "s3", "s3://lab/avsep")
                run(lab, "dvc", "remote", "modify", "s3", "endpointurl", url)
                commit(lab, "an S3 remote")
                run(lab, "dvc", "push", "-r", "s3")
                clone_restores(lab, here / "from-s3", remote="s3", wanted=wanted)


if __name__ == "__main__":
    main()
