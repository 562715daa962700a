"""What holds for each worker process; importing this module makes it so.

The server that workers are forked from imports it first: numpy and PyTorch read how many threads
they may use when they are loaded. One per process, since a pool already uses every core.
"""

import os
import signal
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Ctrl-C goes to the parent, which stops the pool in order.
signal.signal(signal.SIGINT, signal.SIG_IGN)
# The server runs as `python -c`, which would import a `random.py` of the folder that it stands in.
sys.path[:] = [place for place in sys.path if place]
