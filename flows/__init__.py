"""Prefect flows: how the stages are run (batches, retries, cancellation, artifacts).

A flow knows how a stage is run and nothing of what it does; `pipeline.stages` knows the rest.
Importing this package sets the defaults that ship with it: no telemetry, quiet logs, no proxy
between the parts on this machine. The user's own environment wins.
"""

import os
import signal
import sys

# A program of this package (`python -m flows.stages`) loads for seconds, in which Ctrl-C has
# nothing to clean up: it ends the process at once, as SIGTERM does then, instead of with a
# traceback out of some module. Those that clean up hear of it once they have loaded. Python has
# `-m` for the name of the program while it loads this.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from flows.loopback import use_no_proxy

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    # We print the one sentence ourselves; Prefect keeps its traceback for its own page.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    # A batch's result is on disk already; Prefect need not keep a second copy.
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
}.items():
    os.environ.setdefault(_name, _value)

use_no_proxy()
