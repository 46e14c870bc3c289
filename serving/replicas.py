"""Ray Serve deployment of a bundle: replicas behind a handle, with batching.

    from ray import serve
    from serving.replicas import deployment

    handle = serve.run(deployment("/bundles/shop-3-0a1b2c3d4e5f", replicas=2))
    answer = handle.remote("Item Name: Jam, 9 oz").result()

Needs `pip install "ray[serve]"`. The HTTP side of `serving.api` is not in it: put an ingress of your own in front of the handle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve

from serving.bundle.device_choice import DeviceChoice
from serving.engine.process_worker import BatchComputer, Failure, RowAnswer, WorkerBatch

BATCH_ROWS, BATCH_SECONDS = 64, 0.01


class NotPriced(Exception):
    """A batch failed as a whole; the replica's log has the reason."""


@serve.deployment
class BundleReplica:
    """One loaded bundle. Called with a text, answers a `RowAnswer`."""

    def __init__(self, folder: str, threads: int = 1, device: DeviceChoice = DeviceChoice.CPU) -> None:
        self._computer = BatchComputer(Path(folder), threads, device)

    @serve.batch(max_batch_size=BATCH_ROWS, batch_wait_timeout_s=BATCH_SECONDS)
    async def __call__(self, texts: list[str]) -> list[RowAnswer]:
        answers = self._computer.compute(WorkerBatch(texts, [""] * len(texts), None))
        if isinstance(answers, Failure):
            raise NotPriced(answers.reason)
        return answers


def deployment(folder: str, *, replicas: int = 2, threads: int = 1, gpus: float = 0.0) -> Any:
    """An application for `serve.run`. folder: of the bundle, on every node. threads, gpus: of each replica; 0.5 is half a GPU."""
    options = {
        "num_replicas": replicas,
        "ray_actor_options": {"num_cpus": threads, "num_gpus": gpus},
        "max_ongoing_requests": 4 * BATCH_ROWS,
    }
    replica: Any = BundleReplica
    return replica.options(**options).bind(folder, threads, DeviceChoice.CUDA if gpus else DeviceChoice.CPU)
