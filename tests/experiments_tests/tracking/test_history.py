"""`history.json`: every ended trial of every study, with its curve, its cause and its importance."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.storages import BaseStorage

from core.atomic_files import read_json
from core.store.workspace import Workspace
from experiments.search.storage import open_storage
from experiments.search.study import Study
from experiments.tracking.history import FEWEST, write_history
from reports.build import build_report
from reports.figures.study_records import HISTORY_FORMAT
from tests.experiments_tests.search.toy_search import SPACE, ask, identify, outcome


def begun(workspace: Workspace, name: str = "text") -> tuple[BaseStorage, Study]:
    storage = open_storage(f"sqlite:///{workspace.path('optuna.db')}")
    return storage, Study(f"{name}-1", SPACE, storage, identify=identify, known={}.get)


def run(study: Study, smape: float) -> None:
    proposal = ask(study)
    for epoch in (1, 2):
        study.report(proposal.name, epoch, smape + 2 - epoch)
    study.complete(proposal.name, outcome(smape))


def history(workspace: Workspace) -> list[dict[str, Any]]:
    found = read_json(workspace.path("history.json"))
    assert found["format"] == HISTORY_FORMAT
    studies: list[dict[str, Any]] = found["studies"]
    return studies


def test_every_ended_trial_is_listed_with_its_curve(toy_workspace: Workspace) -> None:
    storage, study = begun(toy_workspace)
    run(study, 40.0)
    for end in ("prune", "fail", "interrupt"):
        proposal = ask(study)
        study.report(proposal.name, 1, 60.0)
        if end == "prune":
            study.prune(proposal.name, 60.0)
        elif end == "fail":
            study.fail(proposal.name, "MemoryError: no room", "out-of-memory")
        else:
            study.interrupt(proposal.name)
    ask(study)  # it runs
    write_history(toy_workspace, storage, {"text": study})
    [found] = history(toy_workspace)
    trained = [trial for trial in found["trials"] if trial["answered_from"] is None]
    assert [trial["state"] for trial in trained] == ["complete", "pruned", "failed", "interrupted"]
    first, pruned, failed, interrupted = trained
    assert [trial["error_code"] for trial in (first, pruned, interrupted)] == [None, None, "trial-interrupted"]
    repeats = [trial for trial in found["trials"] if trial["answered_from"] is not None]
    assert all(trial["seconds"] is None for trial in repeats)
    assert first["curve"] == [[1, 41.0], [2, 40.0]] and first["seconds"] == 1.5 and first["smape"] == 40.0
    assert first["params"] == found["documented"] == SPACE.best
    assert pruned["smape"] == 60.0 and (failed["error"], failed["error_code"]) == (
        "MemoryError: no room",
        "out-of-memory",
    )
    assert found["importances"] is None  # of so few trials nothing is said


def test_importances_follow_what_mattered(toy_workspace: Workspace) -> None:
    storage, study = begun(toy_workspace)
    for _ in range(9):
        proposal = study.ask()
        if proposal is not None:
            study.complete(proposal.name, outcome(30.0 + 10 * proposal.searched["depth"] + proposal.searched["rate"]))
    write_history(toy_workspace, storage, {"text": study})
    [found] = history(toy_workspace)
    assert len(found["trials"]) >= FEWEST
    assert found["importances"]["depth"] > 0.9
    assert sum(found["importances"].values()) == pytest.approx(1)


def test_a_later_sweep_replaces_its_own_studies_and_keeps_the_others(toy_workspace: Workspace) -> None:
    storage, text = begun(toy_workspace)
    run(text, 40.0)
    write_history(toy_workspace, storage, {"text": text})
    storage, lexical = begun(toy_workspace, "lexical")
    run(lexical, 35.0)
    write_history(toy_workspace, storage, {"lexical": lexical})
    run(text, 30.0)
    write_history(toy_workspace, storage, {"text": text})
    assert {study["architecture"]: len(study["trials"]) for study in history(toy_workspace)} == {
        "lexical": 1,
        "text": 2,
    }
    page = build_report(toy_workspace).read_text(encoding="utf-8")
    assert "3 trials: 3 finished" in page
