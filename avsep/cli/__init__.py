"""The `avsep` command, one module per command or group of commands."""

import signal
import threading


def main() -> None:
    """Run the command that the arguments of the process name, and exit."""
    # Before the command begins and after its end, both of which take seconds, Ctrl-C has nothing to
    # clean up: it ends the process at once, as SIGTERM does then, instead of with a traceback out
    # of some module.
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from avsep.cli import entry

    entry.main()


__all__ = ["main"]
