"""The entry point of the `avsep` command.

An error becomes one sentence on stderr and an exit code: 0 success, 1 a check failed or a question
was answered with no, 2 wrong use, 128 and the number of the signal that ended it: 130 for Ctrl-C,
143 for SIGTERM.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from avsep.cli.app import app
from avsep.errors import AvsepError, disk_fault, printable
from avsep.interrupts import dropped_interrupts_come_again, keep_exit_code
from avsep.terminal import set_up_streams

INTERRUPTED = 130
# What the system says of a path that cannot be the right one.
_WRONG_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ELOOP)
# Typer contains its own copy of click from 0.29 on; its exceptions differ from those of click.
_ClickError: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def main() -> None:
    """Run the command that the arguments of the process name, and exit."""
    set_up_streams()
    received: list[int] = []
    try:
        with _signals_interrupt(received), dropped_interrupts_come_again():
            # Not standalone: typer would print errors in its own form.
            code = app(prog_name="avsep", standalone_mode=False)
            sys.stdout.flush()
    except AvsepError as error:
        _exit(str(error), error.exit_code)
    except _ClickError as error:
        if not error.format_message():  # a group without a command has shown its help
            sys.exit(0)
        _exit(_sentence(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        _exit_interrupted(received)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if received:  # modules in C make an ImportError of it while they load
            _exit_interrupted(received)
        if fault := disk_fault(error):
            _exit(f"{fault}. What is finished is kept.", 1)
        if not isinstance(error, OSError):
            raise
        # A path that was named; never a traceback.
        name = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        code = 2 if error.errno in _WRONG_PATH else 1
        _exit(f"{name}{error.strerror or error}.", code)
    if code == INTERRUPTED:  # typer turns KeyboardInterrupt into this
        _exit_interrupted(received)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _signals_interrupt(received: list[int]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that no partial files stay.

    Args:
        received: gets the number of the signal.
    """
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only the main thread may set handlers

    def interrupt(number: int, _frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    # A signal that is ignored stays so: `nohup` sets SIGHUP to that.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_interrupted(received: list[int]) -> NoReturn:
    keep_exit_code()
    _exit("interrupted.", 128 + (received or [signal.SIGINT])[0])


def _exit(sentence: str, code: int) -> NoReturn:
    print(f"avsep: {printable(sentence)}", file=sys.stderr)
    sys.exit(code)


def _sentence(error: Any) -> str:
    """What is wrong with a command line, and where to read about it."""
    message = error.format_message().strip().replace("Value error, ", "")
    if message[-1] not in ".?!":
        message += "."
    context = getattr(error, "ctx", None)
    return f"{message} See `{context.command_path} --help`." if context else message
