"""Two replicas of a bundle in a Ray cluster give the bundle's prices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.process_worker import BatchComputer, WorkerBatch

serve = pytest.importorskip("ray.serve", reason="needs ray[serve]")
ray = pytest.importorskip("ray")


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()
    ray.shutdown()


def test_two_replicas_answer_alike(cluster: None, exported: Path) -> None:
    from serving.replicas import deployment

    handle = serve.run(deployment(str(exported), replicas=2), name="shop", route_prefix=None)
    texts = [f"Item Name: nut {number}, Pack of {number + 1}" for number in range(40)]
    answers = [answer.result(timeout_s=60) for answer in [handle.remote(text) for text in texts]]
    expected = BatchComputer(exported).compute(WorkerBatch(texts, [""] * len(texts), None))
    assert isinstance(expected, list)
    assert [answer.price for answer in answers] == pytest.approx([answer.price for answer in expected])
    states = serve.status().applications["shop"].deployments["BundleReplica"].replica_states
    assert {str(state): count for state, count in states.items()}["RUNNING"] == 2
