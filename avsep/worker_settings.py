"""What holds for each worker process; importing this module makes it so.

The server that workers are forked from imports it first: numpy and PyTorch read how many threads
they may use when they are loaded. One per process, since a pool already uses every core.
"""

import gc
import os
import pickle
import signal
import sys
from types import TracebackType

# Off until the forked worker turns it on again, see `avsep.large_imports`.
gc.disable()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Ctrl-C goes to the parent, which stops the pool in order.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # blocked while the server started
# The server runs as `python -c`, which would import a `random.py` of the folder that it stands in.
sys.path[:] = [place for place in sys.path if place]


def _say_unless_unwanted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show why a worker could not start, unless its parent has gone or no longer wants it.

    Then what it should read breaks off, or its semaphores have gone, which have no file name.
    """
    gone = isinstance(error, FileNotFoundError) and error.filename is None
    if not (gone or isinstance(error, EOFError | ConnectionError | pickle.UnpicklingError)):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_unless_unwanted
