"""What the documents say is true."""

from pathlib import Path

import pytest

from avsep.errors import Reason

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_reason_code_is_explained():
    text = (ROOT / "docs" / "data.md").read_text("utf-8")
    assert [reason for reason in Reason if f"`{reason}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(page: Path):
    import re

    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
