"""All stages on the worst machine that should do: the bytes of a good one.

Run by `make test-faults`. Its user is not root, has no name and no home; TMPDIR names nothing; few
files may be open; there are no assertions (`python -O`); and the clock runs backwards.
"""

import os
import resource
import shutil
import subprocess

import pytest

from tests.support.strikes import bad_machine
from tests.support.tiny_project import STAGES, command, environment, make_project

FILES = 128
GONE = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
# Another number for the user that owns the project, so that nothing need be given away.
SOMEBODY = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad") / "project"
    make_project(root)
    return root


@pytest.fixture(scope="module")
def somebody():
    """What a command of another user begins with; nothing where this user is not root anyway."""
    if os.geteuid():
        return []
    if not shutil.which("unshare") or subprocess.run([*SOMEBODY, "true"], check=False).returncode:
        pytest.skip("only `unshare` makes root another user")
    return SOMEBODY


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_the_same_bytes_on_a_bad_machine(unbroken, project, somebody, stage):
    bad = environment(**bad_machine(clock_s=100.0), PYTHONOPTIMIZE="1", TMPDIR="/nonexistent")
    done = subprocess.run(
        [*somebody, *command(stage, project)], cwd=project, capture_output=True, text=True,
        check=False, preexec_fn=few_files,
        env={name: value for name, value in bad.items() if name not in GONE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    unbroken.assert_same(project, stage)
