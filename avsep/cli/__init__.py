"""The `avsep` command, one module per command or group of commands."""

import signal
import threading


def main() -> None:
    """Run the command that the arguments of the process name, and exit."""
    # Loading takes seconds, in which Ctrl-C has nothing to clean up: it ends the process at once,
    # as SIGTERM does then, instead of with a traceback out of some module.
    loads = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if loads:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from avsep.cli import entry

    if loads:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    entry.main()


__all__ = ["main"]
