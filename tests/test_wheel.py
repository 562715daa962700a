"""What `pip install` of the wheel gives: the library, and nothing of the workflow."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.synthetic_workspace import make_workspace

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the wheel's content, as site-packages of another machine would hold it."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def run(site: Path, cwd: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code that sees the wheel and the packages of others, but not this checkout."""
    # -S: the .pth file of an editable install is not read.
    others = sysconfig.get_paths()["purelib"]
    head = f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path.append({others!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", head + code],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def avsep(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(site, cwd, f"sys.argv = {['avsep', *words]!r}\nfrom avsep.cli import main\nmain()")


@pytest.mark.slow
def test_the_wheel_holds_the_library_alone(site):
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"avsep"}
    assert (site / "avsep" / "py.typed").is_file()


@pytest.mark.slow
def test_shards_are_read_and_verified_without_the_checkout(site, tmp_path):
    shards = make_workspace(tmp_path / "project").shards
    code = (
        "from avsep.shards import open_shards\n"
        "import avsep\n"
        f"assert avsep.__file__.startswith({str(site)!r})\n"
        f"print(sum(1 for sample in open_shards({str(shards)!r})))"
    )
    done = run(site, tmp_path, code)
    assert done.stdout.strip() == "12", done.stderr
    done = avsep(site, tmp_path, "verify", str(shards))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "ledger", "profile", "plan", "doctor", "up", "down"])
def test_a_command_of_a_project_says_what_it_needs(site, tmp_path, command):
    done = avsep(site, tmp_path, command, "extract", "--root", "x")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"`avsep {command}` works in an avsep project" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_help_names_them_all_the_same(site, tmp_path):
    done = avsep(site, tmp_path, "--help")
    assert done.returncode == 0
    assert "Needs a project" in done.stdout
