"""The lock: current, complete, from the public index alone, and the same as the list for pip."""

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
PACKAGES = LOCK["package"]
PINS = ROOT / "requirements" / "constraints.txt"


def versions() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        found.setdefault(package["name"], set()).add(package["version"].partition("+")[0])
    return found


def test_it_is_of_the_requirements_that_the_project_has():
    """`uv lock` was run after the last change of pyproject.toml."""

    def text(line: str, marker: str = "") -> tuple[str, str, str, str]:
        need = Requirement(line)
        extras = ",".join(sorted(need.extras))
        return canonicalize_name(need.name), extras, str(need.specifier), marker

    def specifier(entry: dict) -> str:
        return str(Requirement(f"x{entry.get('specifier', '')}").specifier)

    project = PROJECT["project"]
    wanted = {text(line) for line in project["dependencies"]}
    for extra, lines in project["optional-dependencies"].items():
        wanted |= {text(line, str(Marker(f"extra == '{extra}'"))) for line in lines}
    (ours,) = (package for package in PACKAGES if package["name"] == "avsep")
    locked = {
        (
            entry["name"],
            ",".join(sorted(entry.get("extras", []))),
            specifier(entry),
            str(Marker(entry["marker"])) if "marker" in entry else "",
        )
        for entry in ours["metadata"]["requires-dist"]
    }
    assert locked == wanted
    assert sorted(ours["metadata"]["provides-extras"]) == sorted(project["optional-dependencies"])


def test_every_file_has_a_hash_and_comes_from_the_public_index():
    for package in PACKAGES:
        if package["name"] == "avsep":
            assert package["source"] == {"editable": "."}
            continue
        registry = package["source"]["registry"]
        hosts = {
            "https://pypi.org/simple": {"files.pythonhosted.org"},
            "https://download.pytorch.org/whl/cpu": {"download-r2.pytorch.org"},
        }[registry]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, package["name"]
        for file in files:
            assert re.fullmatch("sha256:[0-9a-f]{64}", file["hash"]), file
            assert urlsplit(file["url"]).netloc in hosts, file


def test_only_pytorch_comes_from_elsewhere():
    found = {(p["name"], p["version"]) for p in PACKAGES if "pytorch" in str(p["source"])}
    (pin,) = versions()["torch"]
    assert found == {("torch", f"{pin}+cpu")}


def test_pip_gets_the_same_versions():
    """requirements/constraints.txt: what `make` installs; `uv.lock`: what `uv sync` installs."""
    lines = [line for line in PINS.read_text("utf-8").splitlines() if "==" in line]
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    known = versions()
    assert {n: v for n, v in pins.items() if n in known and v not in known[n]} == {}
    overrides = map(Requirement, PROJECT["tool"]["uv"]["override-dependencies"])
    left_out = {need.name for need in overrides if need.marker}
    assert [name for name in pins if name not in {*known, *left_out}] == []
