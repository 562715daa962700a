"""Start a training as a child process, pass on its output, and never leave it running.

Lightning's own launcher starts further ranks by running the same command line again, which inside
a flow would start the flow in each rank; so ranks are started by `torch.distributed.run`. Light: no
torch in here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from avsep.errors import AvsepError

KILL_AFTER_S = 20.0  # from asking a child to end until it is killed
KEPT_LINES = 30


class ChildError(Exception):
    """The training ended with an error.

    Attributes:
        code: its exit code; negative for a signal.
        message: its last message, one line.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def launch(
    module: str,
    arguments: Sequence[str],
    *,
    devices: int = 1,
    on_line: Callable[[str], None] = print,
) -> None:
    """Run `python -m module arguments` on one or several devices and wait for it.

    SIGINT and SIGTERM end the child first; should this process be killed, the child notices (see
    `follow_parent`). The last checkpoint is kept in each case.

    Args:
        module: has a `main` that reads `sys.argv` and calls `follow_parent`.
        arguments: arguments of the module.
        devices: number of ranks to start.
        on_line: called with each line that the child prints.

    Raises:
        ChildError: it ended with an error.
        KeyboardInterrupt: interrupted, or the child was.
    """
    command = [sys.executable, "-m", module]
    if devices > 1:
        command[2:2] = [
            "torch.distributed.run", "--standalone", "--nproc_per_node", str(devices), "-m",
        ]  # fmt: skip
        # Several ranks on one CPU: one thread each, and no hints about that and about DDP.
        quiet = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    else:
        quiet = {}
    command += [*arguments, "--parent", str(os.getpid())]
    # A session of its own: a terminal's Ctrl-C reaches it once, through us.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**quiet, **os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert child.stdout is not None
    last: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        with _sigterm_raises():
            for line in child.stdout:
                last.append(line.rstrip())
                on_line(line.rstrip())
            code = child.wait()
    except BaseException:
        _end(child)
        raise
    finally:
        child.stdout.close()
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise ChildError(code, _last_message(last, code))


def exit_code(work: Callable[[], None]) -> int:
    """Do the work of a child; its errors become one line and the exit code that `launch` reads."""
    try:
        work()
    except AvsepError as error:
        print(f"avsep: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("avsep: interrupted.", file=sys.stderr, flush=True)
        return 130
    return 0


def _end(child: subprocess.Popen[str]) -> None:
    """Ask the child and all its ranks to end, and kill those that do not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(KILL_AFTER_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_message(lines: Sequence[str], code: int) -> str:
    ours = [line for line in lines if line.startswith("avsep: ")]
    if ours:
        return ours[-1].removeprefix("avsep: ")
    printed = [line for line in lines if line.strip()]
    reason = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the training process ended with {reason}: {printed[-1] if printed else 'no output'}"


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that the child is ended too; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
