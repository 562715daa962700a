"""docs/licences.md says what is installed and what the lock names, whatever the versions."""

import json

import pytest

from tools import licences


@pytest.mark.slow
def test_the_page_is_current():
    """`make licences` was run after the last change of the lock."""
    page = licences.listed()
    assert sorted(page) == licences.locked()
    here = licences.installed()
    wrong = {name: here[name] for name, text in page.items() if here.get(name, text) != text}
    assert wrong == {}


def test_it_names_the_data_of_others():
    text = licences.PAGE.read_text("utf-8")
    rows = licences.assets()
    assert len(rows) > 8
    for folder, what, licence in rows:
        assert f"| `{folder}` | {what} | {licence} |" in text
    for folder in licences.ASSETS:  # and NOTICE knows the folders
        assert folder in (licences.ROOT / "NOTICE").read_text("utf-8")


MIT, BSD = "License :: OSI Approved :: MIT License", "License :: OSI Approved :: BSD License"


@pytest.mark.parametrize(
    ("forms", "licence"),
    [
        (("MIT OR Apache-2.0", "BSD", [BSD]), "MIT OR Apache-2.0"),
        (("", "BSD", [MIT]), "BSD"),
        (("", "GPLv2 | EPLv1", []), "GPLv2 OR EPLv1"),
        (("", "UNKNOWN", [MIT]), "MIT License"),
        (("", "a whole page " * 9, [MIT, BSD]), "BSD License AND MIT License"),
        (("A-1.0 AND " * 9 + "MIT", "", []), "A-1.0 AND " * 9 + "MIT"),
        (("", "a whole page " * 9, ["License :: OSI Approved"]), ""),
    ],
    ids=range(7),
)
def test_a_licence_is_read_in_whatever_form_a_package_gives_it(forms, licence):
    assert licences.licence_of("A_b.c", *forms) == licence


def test_a_report_of_pip_is_read_too(tmp_path):
    report = tmp_path / "report.json"
    told = [
        {"metadata": {"name": "One", "license_expression": "MIT"}},
        {"metadata": {"name": "two", "license": "x" * 99, "classifier": [BSD]}},
    ]
    report.write_text(json.dumps({"install": told}))
    assert licences.reported(report) == {"one": "MIT", "two": "BSD License"}


def test_a_package_that_nobody_knows_is_named(tmp_path, monkeypatch):
    lock = tmp_path / "uv.lock"
    lock.write_text('[[package]]\nname = "avsep"\n[[package]]\nname = "never-heard-of"\n')
    monkeypatch.setattr(licences, "LOCK", lock)
    with pytest.raises(SystemExit, match="never-heard-of"):
        licences.page()
