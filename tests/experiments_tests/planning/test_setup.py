"""Jobs at once, the share of each worker, and requests that exceed a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from core.architectures import architecture
from core.architectures.boosted import BoostedArchitecture
from core.data.catalog import Catalog
from core.hardware import Machine
from core.protocols.architecture import Config, Resolution
from core.store.workspace import Workspace
from experiments.execution.ray_pool import Resources
from experiments.execution.resource_config import ResourceConfig
from experiments.planning.budget import BudgetConfig
from experiments.planning.marginal_gain import NEW_KIND, UNTRAINED
from experiments.planning.search_state import job_defaults
from experiments.planning.setup import ArchitecturePlan, Planner, cluster_resources, for_catalog, prior_of, resources
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


def planned(workspace: Workspace, name: str, space: Path | None = None, **search: object) -> ArchitecturePlan:
    asked = SearchConfig(architectures=(name,), space=space, **search)  # type: ignore[arg-type]
    [found] = Planner(asked, BudgetConfig(), workspace, LAPTOP).plans(asked.kinds())
    return found


def test_what_cannot_matter_is_said_once_per_setting(toy_workspace: Workspace, tmp_path: Path) -> None:
    encoder, space = small_encoder(tmp_path / "encoder"), tmp_path / "space.yaml"
    fast = ("learning_rate=1e-3",)
    found = planned(toy_workspace, "multimodal", vision_encoder="tiny-vision", settings=("cached_views=2",))
    assert found.idle_settings() == ["cached_views: 2 has no effect without freeze_vision"]
    found = planned(
        toy_workspace,
        "multimodal",
        Path("multimodal"),
        text_encoder="tiny",
        vision_encoder="tiny-vision",
        settings=fast,
    )
    assert found.idle_settings() == ["mixup_alpha: 0.2, 0.3 and 0.5 have no effect without use_mixup; trained once"]
    space.write_text(
        f"values: {{text_encoder: [tiny, {encoder}], learning_rate: [1.0e-3], max_length: [256, 625, 1024, 2048]}}",
        encoding="utf-8",
    )
    assert planned(toy_workspace, "text", space).idle_settings() == [
        "max_length: 2048 means 1024, the most that tiny reads; trained once",
        f"max_length: 625, 1024 and 2048 mean 512, the most that {encoder} reads; trained once",
    ]
    space.write_text("values: {max_length: {low: 8, high: 2000}, bins: [8, 9]}", encoding="utf-8")
    found = planned(
        toy_workspace, "text", space, text_encoder="tiny", settings=("head=point", "max_length=1500", *fast)
    )
    assert found.idle_settings() == [
        "bins: 8 and 9 have no effect with head=point; trained once",
        "max_length: 1500 means 1024, the most that tiny reads",
    ]
    found = planned(toy_workspace, "text", space, text_encoder="tiny", settings=fast)
    assert found.idle_settings() == ["max_length: all above 1024 mean 1024, the most that tiny reads; trained once"]
    assert planned(toy_workspace, "lexical").idle_settings() == planned(toy_workspace, "boosted").idle_settings() == []


def test_auto_among_the_encoders_is_settled_in_the_first_points_too(toy_workspace: Workspace, tmp_path: Path) -> None:
    encoder, space = small_encoder(tmp_path / "encoder"), tmp_path / "space.yaml"
    space.write_text(
        f"values: {{text_encoder: [auto, {encoder}], epochs: [1, 2]}}\ninitial_points: [{{text_encoder: auto, epochs: 1}}, "
        f"{{text_encoder: {encoder}}}, {{epochs: 2}}]",
        encoding="utf-8",
    )
    found = planned(toy_workspace, "text", space, settings=("learning_rate=1e-3",)).space
    assert found.values["text_encoder"] == ("tiny", str(encoder))
    assert found.best == {"text_encoder": "tiny", "epochs": 1}
    assert found.then == ({"text_encoder": str(encoder), "epochs": 1}, {"text_encoder": "tiny", "epochs": 2})
    space.write_text(f"values: {{frozen_encoder: [null, tiny, {encoder}]}}", encoding="utf-8")
    assert planned(toy_workspace, "boosted", space).space.values == {"frozen_encoder": (None, str(encoder))}


class TitleConfig(Config):
    """Settings of an architecture whose encoder has a name of its own."""

    title_encoder: str = "noise"
    freeze_title: bool = False


class TitleArchitecture(BoostedArchitecture):
    """An architecture with encoder settings that no shipped one has."""

    name = "title"
    Config = TitleConfig
    encoder_settings = ("title_encoder",)
    random_encoders = frozenset({"noise"})
    freezing_settings: ClassVar[dict[str, str]] = {"title_encoder": "freeze_title"}

    def resolve(self, settings: Mapping[str, Any], machine: Machine, minutes: float | None) -> Resolution:
        return Resolution({"title_encoder": "noise", **settings}, "title")

    def estimate_seconds(self, catalog: Catalog, config: TitleConfig, machine: Machine) -> float:  # type: ignore[override]
        return 60.0

    def estimate_memory(self, catalog: Catalog, config: TitleConfig, machine: Machine) -> int:  # type: ignore[override]
        return 1


def test_an_architecture_with_other_encoder_settings_is_planned_by_what_it_declares(
    toy_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search_spaces.FOLDER", tmp_path)
    (tmp_path / "title.yaml").write_text("values: {}", encoding="utf-8")

    def made(*settings: str) -> tuple[ArchitecturePlan, list[ArchitecturePlan], tuple[str, ...]]:
        search = SearchConfig(architectures=("all",), settings=settings)
        [found] = Planner(search, BudgetConfig(minutes=2), toy_workspace, LAPTOP).plans([TitleArchitecture()])
        return found, *for_catalog([found], search, toy_workspace)

    random, kept, notes = made()
    assert not kept and "--set title.title_encoder=NAME" in notes[0]
    assert "freeze_title" not in random.resolution.settings
    pretrained, kept, notes = made("title.title_encoder=words")
    assert kept == [pretrained] and not notes
    assert pretrained.resolution.settings["freeze_title"] is True
    assert pretrained.resolution.notes[-1].startswith("title encoder's weights: as they are (auto: fine-tuning")


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
