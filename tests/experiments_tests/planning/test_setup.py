"""Jobs at once, the share of each worker, and requests that exceed a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.architectures import architecture
from core.hardware import Machine
from core.store.workspace import Workspace
from experiments.execution.ray_pool import Resources
from experiments.execution.resource_config import ResourceConfig
from experiments.planning.budget import BudgetConfig
from experiments.planning.marginal_gain import NEW_KIND, UNTRAINED
from experiments.planning.search_state import job_defaults
from experiments.planning.setup import Planner, cluster_resources, prior_of, resources
from experiments.search.search_config import SearchConfig
from tests.core_tests.classical_toys import small_encoder
from tests.errors import refused
from tests.experiments_tests.planning.local_sweep import LAPTOP

SERVER = Machine(cores=16, memory=64 * 2**30, device="cpu", gpus=0)
GPUS = Machine(cores=32, memory=64 * 2**30, device="cuda", gpus=4)
APPLE = Machine(cores=8, memory=16 * 2**30, device="mps", gpus=1)


def shares(machine: Machine, *names: str, **changes: object) -> Resources:
    return resources(ResourceConfig.of(**changes), list(map(architecture, names or ("text",))), machine)


@pytest.mark.parametrize(
    ("machine", "workers", "expected"),
    [
        (LAPTOP, 1, Resources(2, 1.0, 0.0)),
        (LAPTOP, 2, Resources(1, 1.0, 0.0, 2)),
        (SERVER, 1, Resources(4, 4.0, 0.0)),
        (SERVER, 2, Resources(2, 4.0, 0.0, 2)),
        (SERVER, 3, Resources(1, 5.0, 0.0, 3)),
        (GPUS, 1, Resources(4, 8.0, 1.0)),
        (GPUS, 2, Resources(2, 8.0, 1.0, 2)),
    ],
)
def test_workers_share_what_the_machine_has(machine: Machine, workers: int, expected: Resources) -> None:
    assert shares(machine, workers_per_trial=workers) == expected


@pytest.mark.parametrize(
    ("machine", "changes", "code"),
    [
        (LAPTOP, {"workers_per_trial": 4}, "workers-exceed-machine"),
        (LAPTOP, {"workers_per_trial": 2, "max_concurrent": 2}, "workers-exceed-machine"),
        (LAPTOP, {"workers_per_trial": 2, "cpus_per_trial": 2.0}, "workers-exceed-machine"),
        (GPUS, {"workers_per_trial": 8}, "workers-exceed-machine"),
        (GPUS, {"workers_per_trial": 2, "gpus_per_trial": 0.5}, "workers-share-a-gpu"),
        (APPLE, {"workers_per_trial": 2}, "workers-on-apple-gpu"),
        (LAPTOP, {"gpus_per_trial": 1.0}, "too-few-gpus"),
    ],
)
def test_workers_for_whom_there_is_no_room_are_refused(machine: Machine, changes: dict[str, object], code: str) -> None:
    with refused(code) as failure:
        shares(machine, **changes)
    assert failure.value.hint


@pytest.mark.parametrize("machine", [LAPTOP, SERVER, GPUS, Machine(1, 2**30, "cpu", 0), Machine(3, 2**30, "cpu", 0)])
@pytest.mark.parametrize("concurrent", [None, 1, 2, 5])
@pytest.mark.parametrize("cpus", [None, 0.5, 1.0, 1.5, 3.0, 100.0])
def test_trainings_at_once_ask_for_no_more_threads_than_cores(
    machine: Machine, concurrent: int | None, cpus: float | None
) -> None:
    share = shares(machine, max_concurrent=concurrent, cpus_per_trial=cpus)
    threads = job_defaults(0, share, machine).threads
    assert share.concurrent >= 1 and share.concurrent * threads <= machine.cores
    assert concurrent is None or share.concurrent <= concurrent


def test_a_cluster_may_have_more_than_this_machine() -> None:
    asked = ResourceConfig(workers_per_trial=4, address="head:6379")
    shared = cluster_resources(asked, [architecture("text")], [LAPTOP, LAPTOP])
    assert shared == Resources(1, 1.0, 0.0, workers=4, elastic=True)


def test_a_cluster_without_room_for_all_workers_of_a_job_is_refused() -> None:
    asked = ResourceConfig(workers_per_trial=5, address="head:6379")
    with refused("cluster-holds-no-job"):
        cluster_resources(asked, [architecture("text")], [LAPTOP, LAPTOP])


def test_half_a_core_each_is_room_enough() -> None:
    assert shares(LAPTOP, workers_per_trial=4, cpus_per_trial=0.5).workers == 4


def test_light_architectures_alone_are_no_use_for_workers() -> None:
    with refused("workers-without-use") as failure:
        shares(LAPTOP, "lexical", "boosted", workers_per_trial=2)
    assert "text, multimodal" in failure.value.hint
    assert shares(LAPTOP, "lexical", "text", workers_per_trial=2).workers == 2


def test_what_is_expected_of_a_kind_follows_from_its_encoder(toy_workspace: Workspace) -> None:
    search = SearchConfig(architectures=("text", "lexical", "boosted"))
    found = Planner(search, BudgetConfig(), toy_workspace, LAPTOP).plans(search.kinds())
    assert {each.name: prior_of(each) for each in found} == {
        "text": UNTRAINED,
        "lexical": NEW_KIND,
        "boosted": NEW_KIND,
    }


def test_an_encoder_that_the_minutes_cannot_fine_tune_is_read_as_it_is_and_said_so(
    toy_workspace: Workspace, tmp_path: Path
) -> None:
    encoder = small_encoder(tmp_path / "encoder")

    def resolved(minutes: float | None = None, settings: tuple[str, ...] = ()) -> tuple[object, str, tuple[str, ...]]:
        search = SearchConfig(architectures=("text",), text_encoder=str(encoder), settings=settings)
        [found] = Planner(search, BudgetConfig(minutes=minutes), toy_workspace, LAPTOP).plans(search.kinds())
        return found.resolution.settings.get("freeze_text"), found.space.source, found.resolution.notes

    frozen, space, notes = resolved(minutes=1e-6)
    assert frozen is True and "text-frozen" in space
    assert "as they are (auto: fine-tuning one member would take about" in notes[-1]
    for whole in (resolved(), resolved(minutes=600.0), resolved(minutes=1e-6, settings=("text.freeze_text=false",))):
        assert not whole[0] and "text-frozen" not in whole[1] and "as they are" not in whole[2][-1]
