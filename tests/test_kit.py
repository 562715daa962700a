"""What others build with: the image, the workflow, the container for editors, the citation."""

import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tools import audit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
JOBS = yaml.safe_load(WORKFLOW)["jobs"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def made(text: str) -> set[str]:
    """The targets that the lines of a script make."""
    lines = re.findall(r"\bmake((?: +[a-z-]+)+)", text)
    return {word for line in lines for word in line.split()}


def steps() -> list[dict]:
    return [step for job in JOBS.values() for step in job["steps"]]


def test_the_workflow_makes_what_the_own_script_makes():
    run = "\n".join(step.get("run", "") for step in steps())
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    own = made("\n".join(line for line in script.splitlines() if line.startswith("make ")))
    assert own
    assert own <= made(run) <= TARGETS


def test_the_workflow_trusts_nobody():
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    for step in steps():
        if uses := step.get("uses"):
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", uses), "a tag may move"
        # Text of a pull request in a script would be run.
        assert "github.event" not in step.get("run", "")
        assert "secrets." not in str(step)
    for job in JOBS.values():
        assert job["timeout-minutes"] <= 60


def test_the_pythons_of_the_workflow_are_those_of_the_project():
    told = [line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if "3." in line]
    for name in ("test", "uv"):
        assert JOBS[name]["strategy"]["matrix"]["python"] == told


def test_the_image_copies_what_there_is_and_leaves_out_what_must_not_be_in_it():
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    out = [line.rstrip("/") for line in lines if line and line[0] not in "#!"]
    for sources in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert not any(fnmatch(source, pattern) for pattern in out), source
    assert {".git", ".venv", ".dvc/cache", ".dvc/config.local", "data/*"} <= set(out)


def test_the_image_runs_as_a_user_without_rights():
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert users[-1] not in ("root", "0")
    # Nor as one that has a name and a home: `docker run --user` takes any number.
    assert re.search(r"^ENV HOME=/tmp \\\n +USER=\w+ ", DOCKERFILE, re.MULTILINE)


def test_the_image_installs_extras_and_groups_that_exist():
    builds = set(re.findall(r"^FROM .+ AS base-(\w+)$", DOCKERFILE, re.MULTILINE))
    assert builds == {"cpu", "cuda"}
    assert builds <= set(PROJECT["project"]["optional-dependencies"])
    for group in re.findall(r"--group (\w+)", DOCKERFILE):
        assert group in PROJECT["dependency-groups"]
    (version,) = re.findall(r"UV_VERSION=([\d.]+)", DOCKERFILE)
    assert set(re.findall(r"uv==([\d.]+)", WORKFLOW)) == {version}


def test_the_container_for_editors_makes_targets():
    made_by = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert made(made_by["postCreateCommand"]) == {"install-dev"}
    for variable in made_by["containerEnv"]:
        assert f"{variable} ?=" in MAKEFILE


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = PROJECT["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert {one["url"] for one in cited["references"]} == set(project["urls"].values())


def test_the_artifacts_are_the_models_that_are_trained():
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
    models = dvc["stages"]["train"]["foreach"]
    paths = {name: f"data/runs/{name}" for name in models}
    assert {name: one["path"] for name, one in dvc["artifacts"].items()} == paths
    assert dvc["stages"]["train"]["do"]["outs"] == ["data/runs/${key}"]


def test_the_scenarios_exist():
    words = re.findall(r"^(?:SCENARIOS \?|OF_PROJECT :)= (.+)$", MAKEFILE, re.MULTILINE)
    named = {word for line in words for word in line.split()}
    there = {path.stem for path in (ROOT / "tests" / "scenarios").glob("*.py")}
    # `steps` is what they share; the others need an environment of their own, or an argument.
    assert named == there - {"steps", "hugging_face", "guided_fuzz", "landmark_tools", "onnx_speed"}


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ("echo 'No known vulnerabilities found'", 0, "No known vulnerabilities found"),
        ("echo 'torch 1.0 GHSA-1'; exit 1", 1, "torch 1.0 GHSA-1"),
        (
            "echo 'requests.ConnectionError: Max retries' >&2; exit 1",
            1,
            "cannot be reached",
        ),
        ("echo 'einops could not be audited' >&2; exit 1", 1, "knows no vulnerabilities"),
    ],
    ids=("nothing", "a hole", "no network", "a mirror"),
)
def test_the_audit_says_what_was_found_or_that_nobody_answered(tmp_path, told, code, said):
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\n{told}\n")
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tools.audit", str(program)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) == 1
    assert audit.PINS.is_file()
