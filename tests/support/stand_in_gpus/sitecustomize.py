"""What Python imports in processes on a machine that acts as if it had GPUs: a CPU does the work.

An engine notes in the file `AVSEP_TEST_ENGINES` which worker of Dask it belongs to, by the name in
`AVSEP_TEST_WORKER`, and which GPU its device is among those of `CUDA_VISIBLE_DEVICES`.
"""

import os
from pathlib import Path

from avsep.faces import backends

_load_networks = backends.load_networks


def _on_cpu(name, options):
    visible, number = os.environ["CUDA_VISIBLE_DEVICES"], options["device"].removeprefix("cuda:")
    own = visible.split(",")[int(number)] if number.isdecimal() else visible
    with Path(os.environ["AVSEP_TEST_ENGINES"]).open("a") as notes:
        notes.write(f"{os.environ['AVSEP_TEST_WORKER']} on {own}\n")
    return _load_networks(name, options | {"device": "cpu"})


backends._check_device = lambda _device: None
backends.load_networks = _on_cpu
