"""Start a training as child processes, pass on their output, and never leave one running.

Each rank is a child of this process: no launcher stands between them that could be killed, ask for
the name of the host, or hide how a rank ended. Lightning's own launcher would run the command line
of the stage again in each rank. Light: no torch in here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from avsep.errors import AvsepError, Reason, disk_item_error, printable
from avsep.interrupts import keep_exit_code
from avsep.processes import is_interrupted, short_temp_folder
from avsep.progress import BAR_ABOVE, STEP_LINE, STEP_LINES, can_show_bar
from avsep.training.ranks import MEETING

POLL_S = 0.1
WAITING_EVERY_S = 15.0  # between the lines that say that nothing has been heard yet
KEPT_LINES = 30
OTHERS_FIRST_S = 2.0
TRACEBACK = "Traceback (most recent call last):"
# Exit codes of a child that the disk ended.
DISK_CODES = {Reason.OUT_OF_SPACE: os.EX_CANTCREAT, Reason.DISK_FAILED: os.EX_IOERR}
OURS = "avsep: "  # what the sentence of an error begins with
TEMP = "AVSEP_TRAINING_TEMP"  # set for the ranks: their temporary folder


class ChildError(Exception):
    """The training ended with an error.

    Attributes:
        code: exit code of the process that failed first; negative for a signal.
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
    on_step: Callable[[int, int], None] | None = None,
    keep_open: Sequence[int] = (),
) -> None:
    """Run `python -m module arguments` on one or several devices and wait for it.

    When one rank ends with an error, or this process gets SIGINT or SIGTERM, all ranks are killed
    at once: files are written atomically, and the last checkpoint is kept. Should this process be
    killed, the ranks notice (see `follow_parent`).

    Args:
        module: has a `main` that reads `sys.argv` and calls `follow_parent`.
        arguments: arguments of the module.
        devices: number of ranks to start.
        on_line: called with each line that a rank prints.
        on_step: called with the steps done and their total, about once per second; None where
            nobody wants to know.
        keep_open: file descriptors that the ranks inherit, e.g. of a lock.

    Raises:
        ChildError: a rank ended with an error.
        KeyboardInterrupt: interrupted, or a rank was.
        SystemExit: ended by SIGTERM.
    """
    with short_temp_folder(locks=devices > 1) as temp, _sigterm_raises():
        environment = _environment(devices, str(temp))
        if on_step:
            environment[STEP_LINES] = BAR_ABOVE if can_show_bar() else "lines"
        # Not the simple one, which may wait for ever (see tests/test_structure.py).
        lines: queue.Queue[str] = queue.Queue()
        ranks: list[_Rank] = []
        try:
            for rank in range(devices):
                command = [sys.executable, "-m", module, *arguments, "--parent", str(os.getpid())]
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                ranks.append(_Rank(command, environment | own, keep_open, lines))
            show = _Shown(on_line, on_step, devices)
            failed = _wait(ranks, lines, show)
        finally:
            for rank_process in ranks:
                rank_process.kill()
        for rank_process in ranks:
            rank_process.join()
        while not lines.empty():
            show(lines.get())
    if failed is None:
        return
    code = ranks[failed].process.returncode
    # What a rank was killed by is no fault in the code; its loaders may have complained.
    for line in ranks[failed].traceback if code > 0 else ():
        on_line(line)
    if code == 130:
        raise KeyboardInterrupt
    raise ChildError(code, _last_message(ranks[failed].last, code, failed, devices))


def exit_code(work: Callable[[], None]) -> int:
    """Do the work of a child; its errors become one line and the exit code that `launch` reads."""
    try:
        work()
    except AvsepError as error:
        print(f"{OURS}{printable(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{OURS}interrupted.", file=sys.stderr, flush=True)
        keep_exit_code()
        return 130
    except Exception as error:
        if fault := disk_item_error(error):
            print(f"{OURS}{fault.message}; the same command goes on.", file=sys.stderr, flush=True)
            return DISK_CODES[fault.reason]
        # Another rank may be the cause, whose connections broke when it was killed; `launch` sees
        # that one first.
        if os.environ.get("WORLD_SIZE", "1") != "1":
            time.sleep(OTHERS_FIRST_S)
        traceback.print_exc()
        return 1
    return 0


class _Rank:
    """One child with its output.

    Attributes:
        process: the child, which leads a session of its own: a terminal's Ctrl-C reaches it
            through us alone, and its loader processes can be killed with it.
        last: its last lines.
        traceback: the lines of its traceback, which is shown if this rank is the cause.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        keep_open: Sequence[int],
        lines: queue.Queue[str],
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
            pass_fds=keep_open,
        )
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self.traceback: list[str] = []
        self._lines = lines
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in map(str.rstrip, self.process.stdout):
                if not line.startswith(STEP_LINE):
                    self.last.append(line)
                if self.traceback or line.endswith(TRACEBACK):
                    self.traceback.append(line)
                else:
                    self._lines.put(line)

    def kill(self) -> None:
        """Kill it and what it has started, whether or not it has ended itself."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def join(self) -> None:
        """Wait until its output has been read."""
        self._reader.join(timeout=5.0)


class _Shown:
    """Passes the lines of the ranks on, and says when there has been none for long."""

    def __init__(
        self,
        on_line: Callable[[str], None],
        on_step: Callable[[int, int], None] | None,
        devices: int,
    ) -> None:
        self._on_line, self._on_step = on_line, on_step
        self._what = "the training" if devices == 1 else f"the {devices} processes of the training"
        self._started = self._said = time.monotonic()
        self._heard = False

    def __call__(self, line: str) -> None:
        self._heard = True
        if not line.startswith((STEP_LINE, OURS)):  # an error is raised, not shown
            self._on_line(line)
        elif self._on_step and line.startswith(STEP_LINE):
            done, total = line.removeprefix(STEP_LINE).split()
            self._on_step(int(done), int(total))

    def nothing(self) -> None:
        """There is no line at the moment."""
        now = time.monotonic()
        if not self._heard and now - self._said >= WAITING_EVERY_S:
            self._said = now
            self._on_line(f"waiting for {self._what} to start, {now - self._started:.0f} s")


def _wait(ranks: Sequence[_Rank], lines: queue.Queue[str], show: _Shown) -> int | None:
    """Wait for all ranks; returns which one is the cause of a failure, None if none failed."""
    failed: list[int] = []  # in the order in which they were found
    deadline = float("inf")
    while True:
        try:
            show(lines.get(timeout=POLL_S))
        except queue.Empty:
            show.nothing()
        if is_interrupted():
            raise KeyboardInterrupt
        codes = [rank.process.poll() for rank in ranks]
        failed += [number for number, code in enumerate(codes) if code and number not in failed]
        if failed:
            cause = min(failed, key=lambda number: _explains(ranks[number]))
            deadline = min(deadline, time.monotonic() + OTHERS_FIRST_S)
            # A rank whose connection broke may end before the one that was killed has gone.
            if _explains(ranks[cause]) < 2 or None not in codes or time.monotonic() > deadline:
                return cause
        if all(code == 0 for code in codes):
            return None


def _explains(rank: _Rank) -> int:
    """How well the end of a rank explains a failure: 0 with a sentence of ours, 1 by a signal."""
    return 0 if _sentence(rank.last) else 1 if rank.process.returncode < 0 else 2


def _environment(devices: int, temp: str) -> dict[str, str]:
    """The environment of all ranks."""
    # What another launcher has left would describe its own group of processes.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC_")}
    # numpy's products of matrices in a loader are short: threads slow them down by ten times on a
    # busy machine, and their sums would depend on the number of devices.
    kept.setdefault("OPENBLAS_NUM_THREADS", "1")
    kept |= {
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": temp,
        TEMP: temp,
        "NODE_RANK": "0",
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(devices),
        "LOCAL_WORLD_SIZE": str(devices),
    }
    if devices == 1:
        return kept
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    interface = {"GLOO_SOCKET_IFNAME": loopback, "TP_SOCKET_IFNAME": loopback} if loopback else {}
    # Several ranks on one CPU: one thread each, and no hints about that and about DDP.
    quiet = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    if loopback:
        quiet["NCCL_SOCKET_IFNAME"] = f"={loopback}"
    return quiet | kept | interface | {MEETING: f"{temp}/ranks"}


def _sentence(lines: Sequence[str]) -> str:
    ours = [line for line in lines if line.startswith(OURS)]
    return ours[-1].removeprefix(OURS) if ours else ""


def _last_message(lines: Sequence[str], code: int, rank: int, devices: int) -> str:
    who = "the training process" if devices == 1 else f"training process {rank + 1} of {devices}"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        memory = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
        return (
            f"{who} was ended by {name}{memory}; the same command goes on from its last checkpoint."
        )
    printed = [line for line in lines if line.strip()]
    return _sentence(lines) or (
        f"{who} ended with exit code {code}: {printed[-1] if printed else 'no output'}"
    )


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that the ranks are ended too; main thread only."""
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
