"""A driver killed with SIGKILL at any moment: the same command goes on, nothing is trained twice, nothing is left running."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from core.atomic_files import read_json, write_json
from experiments.common.jobs import JobOutcome
from experiments.search.lease import driver_of, lease
from experiments.search.storage import open_storage
from experiments.search.study import INTERRUPTED, Study, StudySettings
from search_spaces import Space
from tests.experiments_tests import postgres
from tests.experiments_tests.search.toy_search import ask

SPACE = Space("toy", {"depth": tuple(range(1, 11)), "rate": tuple(range(1, 13))}, {"depth": 3, "rate": 3})
FORK = multiprocessing.get_context("fork")  # a process of its own, without seconds of imports


def identify(searched: Any) -> str:
    return f"{searched['depth']}-{searched['rate']}"


def value(name: str) -> float:
    depth, rate = name.split("-")
    return 10.0 * int(depth) + int(rate)


def drive(text: str, folder: Path, seed: int, faults: bool, remembers: bool) -> None:
    """A sweep of instant trainings, three at once, that end in all ways. Writes down every training that it starts and ends.

    remembers: finished trainings are found on disk, as `trial.json` is.
    """
    dice = random.Random(seed)
    storage = open_storage(text)

    def known(name: str) -> JobOutcome | None:
        path = folder / f"{name}.json"
        return JobOutcome(read_json(path), 1, 0.1) if path.exists() else None

    with lease(storage, ["toy"], settle=0.0) as held, (folder / "log").open("a", buffering=1) as log:
        settings = StudySettings(seed=seed, guard=held.check)
        study = Study("toy", SPACE, storage, identify=identify, known=known, settings=settings)
        running: list[str] = []
        while True:
            while len(running) < 3 and (proposal := study.ask()) is not None:
                log.write(f"start {proposal.name}\n")
                running.append(proposal.name)
            if not running:
                break
            name = running.pop(dice.randrange(len(running)))
            for epoch in (1, 2):
                study.report(name, epoch, value(name) + 5.0 / epoch)
            if faults and dice.random() < 0.1:
                study.fail(name, "out of memory")
            elif dice.random() < 0.2:
                study.prune(name, value(name) + 2.5)
                log.write(f"told {name}\n")
            else:
                metrics = {"smape": value(name), "mae": 1.0, "rmse": 1.0, "r2": 0.5}
                if remembers:
                    write_json(folder / f"{name}.json", metrics)
                study.complete(name, JobOutcome(metrics, 2, 0.1))
                log.write(f"told {name}\n")
        study.close()


def read(text: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="toy", storage=open_storage(text)).trials


def lines(folder: Path) -> list[tuple[str, str]]:
    path = folder / "log"
    text = path.read_text() if path.exists() else ""
    return [(line.split()[0], line.split()[1]) for line in text.splitlines()]


def killed(text: str, folder: Path, seed: int, remembers: bool, dice: random.Random) -> None:
    process = FORK.Process(target=drive, args=(text, folder, seed, True, remembers))
    process.start()
    time.sleep(dice.uniform(0.05, 0.6))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize(
    "kind",
    # A journal's lock outlives the process that held it by half a minute.
    ["sqlite", pytest.param("journal", marks=pytest.mark.faults)],
)
def test_killed_at_random_moments_nothing_is_lost_and_nothing_repeated(
    tmp_path: Path, kind: str, remembers: bool
) -> None:
    text = f"sqlite:///{tmp_path}/study.db" if kind == "sqlite" else str(tmp_path / "study.log")
    kills, seed = int(os.environ.get("PRICESTACK_KILLS", "8")), int(os.environ.get("PRICESTACK_KILL_SEED", "1"))
    dice = random.Random(seed)
    for run in range(kills):
        killed(text, tmp_path, 100 * seed + run, remembers, dice)
    last = FORK.Process(target=drive, args=(text, tmp_path, seed, False, remembers))
    last.start()
    last.join(120)
    assert last.exitcode == 0

    assert_whole(text, tmp_path)


def assert_whole(text: str, folder: Path) -> None:
    """Every config has one result, no trial runs, nothing was trained after its end was told, and nothing retried twice."""
    trials = read(text)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0

    trained = [trial for trial in trials if trial.state.is_finished() and "answered_from" not in trial.user_attrs]
    results = Counter(identify(trial.params) for trial in trained if trial.state != TrialState.FAIL)
    assert set(results) | {identify(t.params) for t in trials if "answered_from" in t.user_attrs} == set(
        map(identify, SPACE.grid())
    )
    assert max(results.values()) == 1, "a config with a result was trained again"
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            assert trial.value == value(identify(trial.params))
            assert "answered_from" in trial.user_attrs or trial.user_attrs["smape"] == trial.value

    seen: set[str] = set()
    for what, name in lines(folder):
        assert (what, name in seen) != ("start", True), f"{name} was trained again after its end was told"
        if what == "told":
            seen.add(name)

    retried = Counter(trial.user_attrs.get("origin", "") for trial in trials)
    assert max(count for origin, count in retried.items() if origin.startswith(("retry of", "documented"))) == 1
    search = optuna.load_study(study_name="toy", storage=open_storage(text))
    assert driver_of(search.user_attrs) is None


@pytest.mark.timeout(300)
def test_a_database_that_crashes_again_and_again_delays_a_sweep_and_takes_nothing_from_it(
    tmp_path: Path, server: postgres.Server, database: str
) -> None:
    """A write may have been carried out although its answer was lost; the study's end finds what that left behind."""
    sweep = FORK.Process(target=drive, args=(database, tmp_path, 1, False, False))
    sweep.start()
    crashes = 0
    while sweep.is_alive():
        server.restart("immediate")
        crashes += 1
        sweep.join(1.0)
    assert sweep.exitcode == 0 and crashes >= 2
    assert_whole(database, tmp_path)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_what_was_interrupted_comes_first_once_in_its_order(tmp_path: Path, storage: str) -> None:
    text = f"sqlite:///{tmp_path}/study.db" if storage == "sqlite" else str(tmp_path / "study.log")

    def study() -> Study:
        return Study("toy", SPACE, open_storage(text), identify=identify, known={}.get)

    dead = study()
    lost = [proposal.searched for _ in range(3) if (proposal := dead.ask()) is not None]
    study()  # killed before it asked for anything
    second = study()
    first = ask(second)
    assert first.searched == lost[0]  # killed with one of the three begun again
    third = study()
    again = [proposal for _ in range(4) if (proposal := third.ask()) is not None]
    assert sorted(map(identify, lost)) == sorted(proposal.name for proposal in again[:3])
    assert again[3].name not in map(identify, lost)
    third.complete(again[0].name, JobOutcome({"smape": 40.0}, 1, 0.1))
    third.close()
    states = Counter(trial.state for trial in read(text))
    assert states == {TrialState.COMPLETE: 1, TrialState.FAIL: len(read(text)) - 1}
    assert all(trial.user_attrs["error"] == INTERRUPTED for trial in read(text) if trial.state == TrialState.FAIL)


def test_a_result_that_reached_the_disk_and_not_the_study_is_the_running_trials(tmp_path: Path) -> None:
    text = f"sqlite:///{tmp_path}/study.db"
    outcome = JobOutcome({"smape": 33.0, "mae": 1.0, "rmse": 1.0, "r2": 0.5}, 2, 0.1)
    dead = Study("toy", SPACE, open_storage(text), identify=identify, known={}.get)
    lost = ask(dead)
    study = Study("toy", SPACE, open_storage(text), identify=identify, known={lost.name: outcome}.get)
    assert [(each.number, each.smape) for each in study.ranking()] == [(0, 33.0)]
    following = ask(study)
    assert following.name != lost.name
    assert read(text)[0].state == TrialState.COMPLETE


def test_points_queued_by_a_person_are_tried_first(tmp_path: Path) -> None:
    text = f"sqlite:///{tmp_path}/study.db"
    by_hand = optuna.create_study(storage=text, study_name="toy")
    by_hand.enqueue_trial({"depth": 1, "rate": 6}, user_attrs={"origin": "a hunch"})
    by_hand.enqueue_trial({"depth": 77, "rate": 6})
    by_hand.enqueue_trial({"depth": 1, "rate": 6})
    study = Study("toy", SPACE, open_storage(text), identify=identify, known={}.get)
    proposal = ask(study)
    assert (proposal.number, proposal.name) == (0, "1-6")
    study.complete(proposal.name, JobOutcome({"smape": 40.0}, 1, 0.1))
    assert study.ask() is not None
    trials = read(text)
    assert trials[0].user_attrs["origin"] == "a hunch"
    assert (trials[2].state, trials[2].user_attrs["answered_from"]) == (TrialState.COMPLETE, 0)
