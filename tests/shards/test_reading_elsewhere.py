"""Other projects read shards as docs/shards.md says, with nothing of ours or with `open_shards`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "shards.md").read_text("utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_set) -> Path:
    """A project whose `data/shards` has one shard."""
    root = tmp_path_factory.mktemp("elsewhere")
    make_set(root / "data" / "shards", "compact")
    return root


def run(code: str, folder: Path, *, with_ours: bool) -> list[str]:
    # -I: neither PYTHONPATH nor the working directory, so `avsep` is not there to be found.
    start = "" if with_ours else "import sys; sys.modules['avsep'] = None\n"
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" if with_ours else ""
    done = subprocess.run(
        [sys.executable, "-I", "-c", start + path + code],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_ten_lines_of_the_document_read_a_shard(folder, tmp_path):
    named_in_the_document = tmp_path / "data" / "shards" / "test-000000.tar"
    named_in_the_document.parent.mkdir(parents=True)
    shutil.copy(folder / "data" / "shards" / "train-000000.tar", named_in_the_document)
    code = next(s for s in SNIPPETS if "webdataset" in s)
    assert not re.search(r"pipeline|avsep", code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 11
    lines = run(code, tmp_path, with_ours=False)
    assert len(lines) == 2
    assert lines[0] == "clip-00-t0 (3840,) (6, 96, 96) (6, 68, 3)"


def test_open_shards_reads_the_set(folder):
    code = next(s for s in SNIPPETS if "open_shards" in s)
    assert run(code, folder, with_ours=True)[0] == "clip-00-t0 (3840,) (6, 96, 96)"


def test_the_package_loads_nothing_until_it_is_asked():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import avsep.shards as shards\n"
        "assert not {'webdataset', 'av', 'numpy'} & set(sys.modules)\n"
        "assert callable(shards.open_shards) and shards.ShardStore\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=120)


def test_every_key_and_member_that_is_promised_is_described():
    from avsep.shards.codecs import MEMBERS, META_KEYS

    text = (ROOT / "docs" / "shards.md").read_text("utf-8")
    assert [key for key in sorted(META_KEYS) if f"`{key}`" not in text] == []
    suffixes = {suffix for names in MEMBERS.values() for suffix in names}
    assert [suffix for suffix in sorted(suffixes) if f"`.{suffix}`" not in text] == []
