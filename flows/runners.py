"""Who does the batches: threads of this process (each with its pool), or workers of Dask.

The engine is a matter of the machine, not of the result, so it stands in the environment and not
in `params.yaml`: `AVSEP_ENGINE` is `local` (the default) or `dask`, `AVSEP_DASK_SCHEDULER` the
address of a scheduler (`tcp://host:8786`); without one a LocalCluster of `AVSEP_DASK_WORKERS`
processes is started. Workers must see the project folder under the same path.
"""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from avsep.errors import UsageError

ENGINES = ("local", "dask")


def engine() -> str:
    """The engine that the environment asks for.

    Raises:
        UsageError: there is no such engine, or its package is missing.
    """
    name = os.environ.get("AVSEP_ENGINE", "local")
    if name not in ENGINES:
        raise UsageError(f"AVSEP_ENGINE is {name!r}; it may be {' or '.join(ENGINES)}.")
    if name == "dask":
        if find_spec("prefect_dask") is None:
            raise UsageError("the engine dask needs `pip install 'avsep[dask]'`.")
        _count("AVSEP_DASK_WORKERS", 1)
    return name


def task_runner() -> TaskRunner[Any]:
    """The task runner of the engine that the environment asks for; local where it is wrong.

    Flows get it when they are imported, which must not fail; they call `engine` when they run.
    """
    try:
        return _dask() if engine() == "dask" else _local()
    except UsageError:
        return _local()


def lost_by_dask(error: BaseException) -> str:
    """What happened to a batch that Dask could not bring to its end; empty for an error in it."""
    if type(error).__module__.partition(".")[0] != "distributed":
        return ""
    what = " ".join(str(error).splitlines()[:1]).rstrip(".")
    return (
        f"Dask has lost the batch ({what}); look at its scheduler and its workers. What is"
        " finished is kept; run it again to go on."
    )


def _local() -> TaskRunner[Any]:
    # One batch at a time on one machine: the batch's own process pool fills the cores.
    return ThreadPoolTaskRunner(max_workers=1)


def _dask() -> TaskRunner[Any]:
    # Workers start processes of their own, which a daemonic process may not.
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__DAEMON", "False")
    from prefect_dask import DaskTaskRunner

    for name in ("distributed", "distributed.client"):  # we say ourselves what has gone
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address := os.environ.get("AVSEP_DASK_SCHEDULER"):
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": _count("AVSEP_DASK_WORKERS", 1),
            "threads_per_worker": 1,  # a batch has its own processes
            "host": "127.0.0.1",
            "dashboard_address": None,
            # Whoever reaches a port of Dask can run code: only who has the certificates of this
            # cluster, made for it alone, which leaves out the other users of this machine.
            "security": True,
        }
    )


def _count(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{name} is {text!r}; it must be 1 or more.")
    return int(text)
