"""The command as a user meets it: help, exit codes, and one sentence for every mistake."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from avsep.cli import main, project
from avsep.cli.app import app
from avsep.weights.catalogue import RELEASES

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
GROUPS = ("bench", "ledger", "profile", "shards", "weights", "weights import")


@pytest.fixture
def avsep(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; gives the exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["avsep", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def assert_one_sentence(text: str) -> None:
    assert text.startswith("avsep: "), text
    assert text.count("\n") == 1, text
    assert text.endswith((".\n", "?\n")), text
    assert not text.endswith("..\n"), text
    assert text.strip("\n").isprintable(), text


def commands() -> list[list[str]]:
    """The words of every command and group."""
    found: list[list[str]] = []

    def walk(command, words: list[str]) -> None:
        found.append(words)
        if hasattr(command, "list_commands"):
            for name in command.list_commands(None):
                walk(command.get_command(None, name), [*words, name])

    walk(typer.main.get_command(app), [])
    return found


def command_line(*words: str) -> list[str]:
    return [sys.executable, "-m", "avsep", *words]


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [[sys.executable, "-m", "avsep"], [str(Path(sys.executable).with_name("avsep"))]],
    ids=["module", "script"],
)
def test_the_installed_command_helps_and_refuses(start, tmp_path):
    if not Path(start[0]).exists():
        pytest.skip("avsep is not installed as a script")
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": ENVIRONMENT}
    plain = subprocess.run(start, timeout=120, **options)
    assert plain.returncode == 0, plain.stderr
    assert "Usage: avsep" in plain.stdout
    wrong = subprocess.run([*start, "sperate", "a.mp4"], timeout=120, **options)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert_one_sentence(wrong.stderr)
    assert "sperate" in wrong.stderr


@pytest.mark.slow
def test_every_command_has_help(avsep):
    found = commands()
    assert len(found) > 20
    for words in found:
        code, out, err = avsep(*words, "--help")
        assert (code, err) == (0, ""), words
        assert "Usage: " + " ".join(["avsep", *words]) in " ".join(out.split()), words


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_command_shows_its_help(avsep, group):
    code, out, err = avsep(*group.split())
    assert (code, err) == (0, "")
    assert f"Usage: avsep {group}" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["shards", "nosuch"], "See `avsep shards --help`"),
        (["--nosuch"], "No such option: --nosuch. See"),
        (["verify", "a", "--nosuch"], "No such option: --nosuch. See"),
        (["verify"], "Missing argument"),
        (["inspect", "a"], "Missing option '--out'"),
        (["separate", "--speakers"], "requires an argument"),
        (["verify", "a", "b"], "unexpected extra argument"),
        (["web", "--port", "many"], "'--port'"),
        (["web", "--port", "99999"], "65535"),
        (["separate", "a.mp4", "--speakers", "0"], "'--speakers'"),
        (["separate", "a.mp4", "--cuda-device", "-2"], "'--cuda-device'"),
        (["separate", "a.mp4", "--precision", "fp8"], "'fp32', 'bf16', 'fp16'"),
        (["web", "--model", "orca"], "it may be dolphin, vovit-s1, vovit"),
        (["export", "csv", "--out", "x"], "'iianet'"),
        (["export-model", "onnx", "--out", "x.pt"], "must be an .onnx file"),
        (["export-model", "pt", "--out", "x.onnx"], "'onnx'"),
        (["separate"], "name a video"),
        (["separate", "absent.mp4"], "absent.mp4 does not exist"),
        (["bench", "extract", "absent.mp4"], "absent.mp4"),
        (["weights", "list", "--root", "absent"], "'--root'"),
        (["results", "--root", "absent"], "'--root'"),
        (["export", "folders", "--out", "x", "--root", "absent"], "'--root'"),
        (["ledger", "summary", "--root", "absent"], "'--root'"),
        (["run", "clean", "--root", "absent"], "'--root'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_sentence_and_exit_code_2(avsep, tmp_path, words, said):
    code, out, err = avsep(*words)
    assert (code, out) == (2, ""), err
    assert_one_sentence(err)
    assert said in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["\x1b[31mred"],
        ["--\x1b[31mred"],
        ["verify", "a", "b\x1b[31m"],
        ["separate", "/\x1b[31m\x07.mp4"],
        ["separate", "two\nlines.mp4"],
        ["weights", "get", "\x1b]0;title\x07"],
        ["web", "--model", "\x9b31m"],
        ["results", "--root", "\x1b[2J\r\n"],
    ],
    ids=ascii,
)
def test_control_characters_of_arguments_do_not_reach_the_terminal(avsep, words):
    code, out, err = avsep(*words)
    assert (code, out) == (2, "")
    assert_one_sentence(err)


@pytest.mark.parametrize(
    ("words", "said"), [(["verify", "absent"], "has 1 problem"), (["audit", "a.txt"], "a.txt")]
)
def test_a_check_that_fails_has_exit_code_1(avsep, words, said):
    code, _, err = avsep(*words)
    assert code == 1
    assert said in err.splitlines()[-1]


@pytest.mark.parametrize("command", [["verify"], ["audit"], ["separate"], ["inspect", "--out"]])
@pytest.mark.parametrize("kind", ["long", "below a file", "circle"])
def test_a_path_that_cannot_be_one_is_one_sentence(avsep, tmp_path, command, kind):
    (tmp_path / "file").write_text("x")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    path = {"long": "a" * 300, "below a file": "file/below", "circle": "circle"}[kind]
    code, _, err = avsep(*command, path, *(["absent"] if "--out" in command else []))
    assert code in (1, 2)
    lines = [line for line in err.splitlines() if line.startswith("avsep: ")]
    assert_one_sentence(lines[-1] + "\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "module"),
    [("run", "no_such_module.cli:run"), ("run", "avsep.cli.project:no_such_name")],
    ids=["not installed", "another package"],
)
@pytest.mark.parametrize("words", [[], ["clean", "--retry-failed"], ["--help"]], ids=" ".join)
def test_a_project_command_without_its_project_says_what_it_needs(
    avsep, monkeypatch, name, module, words
):
    entry = EntryPoint(name, module, project.GROUP)
    monkeypatch.setattr(project, "entry_points", lambda group: [entry])
    code, out, err = avsep(name, *words)
    assert (code, out) == (2, "")
    assert_one_sentence(err)
    assert f"`avsep {name}`" in err
    assert "clone" in err
    assert name in avsep("--help")[1]


def test_a_broken_project_command_is_not_hidden(avsep, monkeypatch, tmp_path):
    (tmp_path / "broken_project.py").write_text("import a_package_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("run", "broken_project:run", project.GROUP)
    monkeypatch.setattr(project, "entry_points", lambda group: [entry])
    monkeypatch.setattr(sys, "argv", ["avsep", "run"])
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_missing"):
        main()


def asked(answer: bytes | None, folder: Path) -> tuple[int, str]:
    """Run `weights get dolphin` on a terminal; answer its question, or interrupt it for None."""
    ours, theirs = pty.openpty()
    # No server listens there: a download that was not agreed to would fail in another way.
    words = command_line("weights", "get", "dolphin", "--from", "http://127.0.0.1:1")
    environment = {**ENVIRONMENT, "AVSEP_WEIGHTS": str(folder / "store")}
    child = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    text = b""
    try:
        while b"[y/N]" not in text:
            text += os.read(ours, 1 << 16)
        if answer is not None:
            os.write(ours, answer)
        # The C library may miss a Ctrl-C that comes between the question and the wait for its
        # answer; a person presses again.
        while answer is None and child.poll() is None:
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)
        code = child.wait(timeout=60)
        while True:
            try:
                text += os.read(ours, 1 << 16)
            except OSError:  # the terminal is closed and empty
                break
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    return code, text.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [(b"n\n", 1, "nothing was downloaded."), (b"\n", 1, "declined"), (None, 130, "interrupted.")],
    ids=["no", "enter", "ctrl-c"],
)
def test_a_question_can_be_declined_or_interrupted(tmp_path, answer, code, said):
    ended, text = asked(answer, tmp_path)
    assert ended == code, text
    assert RELEASES["dolphin"].title in text
    last = text.strip().splitlines()[-1]
    assert said in re.split(r"avsep: ", last)[-1]
    assert "Traceback" not in text
    assert not (tmp_path / "store").exists()
