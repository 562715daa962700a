"""What a person reads while the stages run: which one of how many, and what comes at the end."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.cli.results import NEXT, show_results
from avsep.models.registry import MODELS
from avsep.terminal import echo_wrapped
from avsep.workspace import Workspace
from pipeline.stages import STAGES
from pipeline.steps import heading, steps

ROOT = Path(__file__).parents[2]


def test_the_steps_are_those_of_dvc_in_its_order():
    found = []
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        models = stage.get("foreach") or stage.get("matrix", {}).get("model") or [""]
        found += [(name, model) for model in models]
    assert found == steps()


def test_each_heading_counts_and_has_words_for_its_stage():
    told = [heading(STAGES[stage], model) for stage, model in steps()]
    assert told[4] == "stage 5 of 12: pretrain - train Dolphin's lip encoder"
    assert told[7] == "stage 8 of 12: train - teach VoViT to extract a voice by its face"
    for number, ((_, model), line) in enumerate(zip(steps(), told, strict=True), 1):
        assert line.startswith(f"stage {number} of {len(told)}: ")
        words = line.partition(" - ")[2]
        assert len(words) > 10
        assert not model or MODELS[model].title in words
        assert len(line) <= 80


@pytest.mark.slow
def test_a_run_says_which_stage_it_is_and_the_last_one_shows_table_page_and_what_is_next(tmp_path):
    (tmp_path / "params.yaml").write_text("report: {title: A page}\n")
    said = CliRunner().invoke(app, ["run", "report", "--root", str(tmp_path)])
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert lines[0] == "stage 12 of 12: report - write the page of all results"
    assert lines[1].startswith("report: 1 done, page ")
    assert "Separation of test mixtures" in said.stdout
    page = lines.index(f"The page: {tmp_path / 'data/report/index.html'}")
    assert len(lines[page + 2 :]) == len(NEXT) == 3
    for line, (purpose, words) in zip(lines[page + 2 :], NEXT, strict=True):
        assert line.startswith(f"  {purpose}: ")
        assert line.endswith(f" {words}")


@pytest.mark.parametrize("words", [words for _, words in NEXT])
def test_what_is_next_is_a_command_of_ours(words):
    known = [word for word in words.split() if word.islower() and not word.startswith("-")][:2]
    for count in range(1, len(known) + 1):
        assert CliRunner().invoke(app, [*known[:count], "--help"]).exit_code in (0, 2)
    assert CliRunner().invoke(app, [known[0], "--help"]).exit_code == 0


def test_the_command_is_given_by_its_path_where_the_shell_lacks_it(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my env" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "avsep"):
        (folder / name).touch(mode=0o755)
    page = tmp_path / "data" / "report" / "index.html"
    page.parent.mkdir(parents=True)
    page.touch()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.chdir(tmp_path)
    for path, typed in (("/nowhere", "'my env/bin/avsep' web"), (str(folder), "avsep web")):
        monkeypatch.setenv("PATH", path)
        show_results(Workspace(tmp_path))
        assert f" {typed}\n" in capsys.readouterr().out
    assert os.environ["PATH"] == str(folder)


def test_on_a_terminal_no_word_of_a_sentence_is_broken(monkeypatch, capsys):
    sentence = "train: 1 done, " + ", ".join(f"val_wrong_si_sdri -0.04{n}" for n in range(9))
    monkeypatch.setenv("COLUMNS", "60")
    echo_wrapped(sentence)
    assert capsys.readouterr().out == f"{sentence}\n"  # a pipe gets one line
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    echo_wrapped(sentence)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60
    assert " ".join(line.strip() for line in lines) == sentence


def test_without_a_page_nothing_is_offered(tmp_path, capsys):
    show_results(Workspace(tmp_path))
    said = capsys.readouterr().out
    assert "Separation of test mixtures" in said
    assert "The page" not in said
    assert "next" not in said
