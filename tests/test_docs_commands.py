"""Commands in the documents exist with their options, and something here runs each of them."""

import importlib.util
import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from avsep.cli.app import app
from tests.support.synthetic_workspace import make_workspace

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCENARIOS = "tests/scenarios"

# The beginning of a command, and what runs it: a test, a scenario, or what `.ci/run` calls.
RUN_BY = {
    "avsep audit": "tests/mixing/test_audit.py",
    "avsep bench models": "tests/bench/test_bench_models.py",
    "avsep convert-landmarks": "tests/faces/test_imported_landmarks.py",
    "avsep cut": "tests/cutting/test_cut_recording.py",
    "avsep doctor": "tests/test_docs_commands.py",
    "avsep down": f"{SCENARIOS}/scheduled_runs.py",
    "avsep fetch": "tests/corpora/test_fetching.py",
    "avsep export": "tests/exporting/test_exports.py",
    "avsep export-model": "tests/exporting/test_onnx_model.py",
    "avsep init": "tests/execution/test_init.py",
    "avsep inspect": "tests/test_docs_commands.py",
    "avsep ledger": "tests/execution/test_ledger_commands.py",
    "avsep plan": "tests/execution/test_project_plan.py",
    "avsep profile use": "tests/corpora/test_miniature_corpora.py",
    "avsep publish": "tests/exporting/test_publish.py",
    "avsep recordings": "tests/evaluation/test_recordings.py",
    "avsep results": "tests/reporting/test_report_page.py",
    "avsep run": "tests/corpora/test_miniature_corpora.py",
    "avsep run train": "tests/stages/test_killed_training.py",
    "avsep run train --model dolphin --find": "tests/stages/test_train_stage.py",
    "avsep separate": "tests/separation/test_separate_command.py",
    "ask": "tests/web/test_serve.py",
    "avsep serve": "tests/web/test_serve.py",
    "avsep shards diff": "tests/extraction/test_growth.py",
    "avsep shards reindex": "tests/shards/test_shard_index.py",
    "avsep up": f"{SCENARIOS}/scheduled_runs.py",
    "avsep verify": "tests/test_docs_commands.py",
    "avsep web": "tests/web/test_web_browser.py",
    "avsep weights get": "tests/weights/test_weights_store.py",
    "avsep weights import": "tests/models/test_released.py",
    "avsep weights list": "tests/weights/test_weights_store.py",
    "chmod": "",
    "dask scheduler": "tests/flows/test_dask_engine.py",
    "dask worker": "tests/flows/test_dask_engine.py",
    "docker": "",  # no daemon here; tests/test_kit.py reads the Dockerfile
    "dvc exp apply": f"{SCENARIOS}/experiments.py",
    "dvc exp run": f"{SCENARIOS}/experiments.py",
    "dvc import": f"{SCENARIOS}/dvc_remotes.py",
    "dvc metrics diff": f"{SCENARIOS}/experiments.py",
    "dvc metrics show": f"{SCENARIOS}/experiments.py",
    "dvc params diff": f"{SCENARIOS}/experiments.py",
    "dvc plots diff": f"{SCENARIOS}/experiments.py",
    "dvc push": f"{SCENARIOS}/dvc_remotes.py",
    "dvc remote add": f"{SCENARIOS}/dvc_remotes.py",
    "dvc repro": "tests/test_end_to_end.py",
    "export": "",  # of the shell
    "make demo": "",  # builds an environment from the network; its parts are run by others
    "make test": ".ci/run",
    "openssl req": "",  # the tests make such a certificate with a library
    "pip install": "",
    "prefect automation": "tests/flows/test_scheduled.py",
    "prefect deploy": "flows/local_server.py",
    "prefect deployment run": f"{SCENARIOS}/scheduled_runs.py",
    "prefect deployment schedule ls": f"{SCENARIOS}/scheduled_runs.py",
    "prefect flow-run": f"{SCENARIOS}/scheduled_runs.py",
    "prefect work-pool create": "flows/local_server.py",
    "prefect worker start": "flows/local_server.py",
    "python -m flows.": "tests/flows/test_dask_engine.py",
    "source": "",
    "srun": "tests/training/test_ranks.py",  # what it sets; Slurm itself is not here
    "torchrun": "tests/stages/test_killed_training.py",
    "uv": ".github/workflows/ci.yml",  # fetches packages
}


def commands(page: Path) -> list[tuple[str, ...]]:
    """The commands in the shell blocks of a page, as words, without variables and pipes."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        lines += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            found.append(tuple(words[: words.index("|")] if "|" in words else words))
    return found


CALLS = sorted({words for page in PAGES for words in commands(page)})


def calls(program: str) -> list[tuple[str, ...]]:
    return [words for words in CALLS if words[0] == program]


@pytest.mark.parametrize("words", calls("avsep"), ids=" ".join)
def test_every_command_of_ours_exists_with_its_options(words):
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command, info_name="avsep")
    rest = list(words[1:])
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"avsep has no command {name}"
        command = command.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    command.parse_args(context, rest)  # raises for unknown options and missing arguments


@pytest.mark.parametrize("words", calls("dvc"), ids=" ".join)
def test_every_command_of_dvc_is_one_that_it_takes(words):
    from dvc.cli.parser import get_main_parser

    get_main_parser().parse_args(list(words[1:]))  # raises for what it does not know


def test_every_target_and_module_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {words[1] for words in calls("make")} <= set(targets)
    for page in PAGES:
        text = page.read_text("utf-8")
        for name in re.findall(r"python -m ((?:avsep|flows)[\w.]+)", text):
            assert importlib.util.find_spec(name), f"{page.name}: {name}"
        for name in re.findall(r"python (tests/[\w/]+\.py)", text):
            assert (ROOT / name).is_file(), f"{page.name}: {name}"


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_something_runs_every_command(words):
    text = " ".join(word for word in words if word != "--no-prompt")
    begins = [begin for begin in RUN_BY if text.startswith(begin)]
    assert begins, f"nothing runs `{text}`: write a test or a scenario, and name it in RUN_BY"
    if place := RUN_BY[max(begins, key=len)]:
        told = (ROOT / place).read_text("utf-8")
        last = max(begins, key=len).split()[-1].removesuffix(".")
        assert last in told, f"{place} does not run `{text}`"


@pytest.mark.slow
def test_the_short_commands_run(tmp_path):
    space = make_workspace(tmp_path)
    for words, told in (
        (["verify", str(space.shards)], "all good"),
        (["inspect", str(space.shards), "--out", str(tmp_path / "look"), "--limit", "2"], "look"),
        (["doctor", "--root", str(ROOT)], "ffmpeg"),
    ):
        done = CliRunner().invoke(app, words)
        assert told in done.stdout, done.exception
        if words[0] != "doctor":  # which also says what this machine lacks
            assert done.exit_code == 0


def test_make_lets_python_keep_byte_code():
    """Nothing is compiled when it is installed: each process would do it again."""
    words = ["--eval", "asked:; @echo [$$PYTHONDONTWRITEBYTECODE]", "asked"]
    done = subprocess.run(
        ["make", "--silent", "--no-print-directory", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
