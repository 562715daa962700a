"""Workers of Dask that own a GPU: they have its resource, and batches that need one go to them."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import AbstractContextManager
from typing import Any

import dask
from distributed import Client, Worker, WorkerPlugin
from prefect.task_runners import TaskRunner
from prefect_dask import DaskTaskRunner

from avsep.errors import CheckError

GPU = "GPU"  # as the documents of Dask and of dask-cuda call the resource
WAIT_S = 60.0  # for workers that are started together with the flow
POLL_S = 0.5


class OneGpuEach(WorkerPlugin):
    """Shares GPUs out among the workers of a LocalCluster, which are named by numbers.

    A worker for which there is none left sees none, and gets no batch that needs one.

    Args:
        gpus: their ids, as `CUDA_VISIBLE_DEVICES` has them.
    """

    name = "avsep-one-gpu-each"

    def __init__(self, gpus: list[str]) -> None:
        self._gpus = gpus

    async def setup(self, worker: Worker) -> None:
        """Give a worker its GPU; called again for one that was started again."""
        own = self._gpus[int(worker.name) :][:1]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        await worker.set_resources(**{GPU: len(own)})


def visible_gpus() -> list[str]:
    """The ids of the GPUs that this process may use."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _owned_gpu() -> str:
    """What tells the GPU of this worker from those of others on the same machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or "0"
    # Slurm may number the GPUs of each of its tasks from 0.
    task = [os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_PROCID")]
    return " ".join([visible.partition(",")[0], *task]).strip()


def wait_for_gpu(runner: TaskRunner[Any]) -> None:
    """Wait for a worker that owns a GPU, since Dask would do so for ever.

    In a cluster of this process, the workers first get the GPUs of this machine.

    Raises:
        CheckError: there is none, or two workers of one machine own the same.
    """
    assert isinstance(runner, DaskTaskRunner)
    limit = time.monotonic()
    if runner.address:
        limit += WAIT_S
    else:
        runner.client.register_plugin(OneGpuEach(visible_gpus()))
    while not (hosts := _hosts_of_gpus(runner.client)):
        if time.monotonic() >= limit:
            raise CheckError(
                f"no worker of Dask has a GPU; start one with `--resources {GPU}=1` on a machine"
                " that has one (docs/scale.md), or set the device in params.yaml to cpu."
            )
        time.sleep(POLL_S)
    owned = runner.client.run(_owned_gpu, workers=list(hosts), on_error="ignore")
    owners = Counter((hosts[address], gpu) for address, gpu in owned.items())
    for (host, gpu), count in owners.items():
        if count > 1:
            raise CheckError(
                f"{count} workers of Dask on {host} own the same GPU ({gpu}); start each with a"
                " CUDA_VISIBLE_DEVICES of its own (docs/scale.md)."
            )


def _hosts_of_gpus(client: Client) -> dict[str, str]:
    """The hosts of the workers that own a GPU, by the addresses of the workers."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {at: worker["host"] for at, worker in workers.items() if worker["resources"].get(GPU)}


def on_gpu_worker() -> AbstractContextManager[None]:
    """Batches that are submitted within go to workers that own a GPU."""
    return dask.annotate(resources={GPU: 1})
