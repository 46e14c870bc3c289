"""`experiments.status`, beside real drivers that live, end and are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from core.atomic_files import write_json
from core.errors import UserError
from core.store.workspace import Workspace
from experiments.common.jobs import SweepStatus
from experiments.search.lease import KEY, Driver
from experiments.tracking.sweep_record import RECORD, Record, read_record, recorded
from tests.errors import refused
from tests.paths import ROOT

STUDY = "text-1a2b3c4d"


Status = Callable[..., str]


@pytest.fixture
def status(typed: Callable[..., str]) -> Status:
    """Output of the command for a workspace, with further arguments."""
    return partial(typed, "experiments.status", "--workspace")


def add_trial(
    study: optuna.Study, state: TrialState, value: float | None, curve: Mapping[int, float], **attributes: object
) -> None:
    """Adds a trial. curve: SMAPE by epoch. attributes: of the user, as a sweep keeps them."""
    study.add_trial(
        create_trial(
            state=state, value=value, params={"dropout": 0.1}, distributions={"dropout": FloatDistribution(0.0, 0.5)},
            user_attrs=attributes, intermediate_values=dict(curve),
        )
    )  # fmt: skip


def make_study(workspace: Workspace, storage: str | None = None) -> None:
    """Trials 0 to 3: complete, stopped, failed, running at epoch 2."""
    study = optuna.create_study(storage=storage or f"sqlite:///{workspace.path('optuna.db')}", study_name=STUDY)
    add_trial(study, TrialState.COMPLETE, 41.25, {1: 49.0, 2: 48.0}, config="text-0", seconds=12.0)
    add_trial(study, TrialState.PRUNED, None, {1: 49.0, 2: 48.0}, config="text-1")
    error = "MemoryError: too large\nTraceback ..."
    add_trial(study, TrialState.FAIL, None, {1: 49.0, 2: 48.0}, config="text-2", error=error)
    add_trial(study, TrialState.RUNNING, None, {1: 49.0, 2: 48.0}, config="text-3")


def record(**changes: Any) -> Record:
    made = Record(
        pid=1, host="here", start=time.time() - 60, end=None, folds=3, storage="", tracking="", studies={"text": STUDY},
        trials={"text": 8}, members=2, command="python -m experiments.sweep text",
    )  # fmt: skip
    return replace(made, **changes)


DRIVER = """
import sys, time
from pathlib import Path
from core.store.workspace import Workspace
from experiments.tracking.sweep_record import Record, here, recorded
workspace = Workspace(Path(sys.argv[1]))
record = Record(**here(), start=time.time(), end=time.time() + 600, folds=3, storage="", tracking="",
                studies={"text": "text-1a2b3c4d"}, trials={"text": 8}, members=2, command="python -m experiments.sweep text")
with workspace.lock(), recorded(workspace.folder, record):
    print("drives", flush=True)
    sys.stdin.read()
"""


@contextmanager
def driver(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the workspace's lock and has written its record, as a sweep does, until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(workspace.folder)], cwd=ROOT, stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "drives\n"
        yield process
        process.kill()


def test_a_running_sweep_a_killed_one_and_one_that_ended(toy_workspace: Workspace, status: Status) -> None:
    make_study(toy_workspace)
    with driver(toy_workspace) as process:
        found = json.loads(status(toy_workspace.folder, "--json"))
        assert found["driver"] == SweepStatus.RUNNING and found["record"]["pid"] == process.pid
        assert 500 < found["left"] <= 600
        text = status(toy_workspace.folder)
        assert f"process {process.pid}" in text and "left" in text and "experiments.dashboard" in text
        assert "text #3 runs: epoch 2, SMAPE 48.00" in text
        with refused("workspace-locked"), toy_workspace.lock():
            pass  # looking took nothing away from the driver
        process.kill()
        process.wait()
    text = status(toy_workspace.folder)
    assert "the last sweep died" in text and "text #3 was running" in text
    assert "next: python -m experiments.sweep text " in text and "goes on" in text
    with driver(toy_workspace) as process:
        process.communicate("")
    text = status(toy_workspace.folder)
    assert "the last sweep finished" in text


def test_counts_best_errors_and_members(toy_workspace: Workspace, status: Status) -> None:
    make_study(toy_workspace)
    write_json(toy_workspace.path(RECORD), asdict(record(state=SweepStatus.FINISHED, ended=time.time())))
    half, whole = (toy_workspace.store.folder / name for name in ("text-half", "text-whole"))
    for fold in (0, 1):
        write_json(half / f"fold-{fold}" / "fit.json", {"fold": fold, "seconds": 1.0})
    write_json(toy_workspace.store.folder / "text-lone" / "fold-0" / "fit.json", {"fold": 0, "seconds": 1.0})
    write_json(whole / "member.json", {"metrics": {"smape": 40.0}})

    found = json.loads(status(toy_workspace.folder, "--json"))
    [search] = found["searches"]
    assert search["counts"] == {"complete": 1, "pruned": 1, "fail": 1, "running": 1} and search["wanted"] == 8
    assert search["best"]["trial"] == 0 and search["best"]["smape"] == 41.25 and search["seconds"] == 12.0
    assert search["errors"] == [["MemoryError: too large", 1]]
    assert [(each["trial"], each["epoch"]) for each in search["running"]] == [(3, 2)]
    assert [(each["member"], each["folds_done"], each["smape"]) for each in found["members"]] == [
        ("text-half", 2, None), ("text-whole", 3, 40.0),
    ]  # fmt: skip
    text = status(toy_workspace.folder)
    assert "1x MemoryError: too large" in text and "text-half: 2 of 3 folds, in the making" in text
    assert "next: python -m ensemble.stack" in text


def test_a_driver_on_another_machine_is_known_by_its_sign_of_life(toy_workspace: Workspace, status: Status) -> None:
    make_study(toy_workspace)
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{toy_workspace.path('optuna.db')}")
    driver = Driver("elsewhere", 7, "its system", "then", "token", time=time.time())
    study.set_user_attr(KEY, asdict(driver))
    assert "process 7 on elsewhere" in status(toy_workspace.folder)
    study.set_user_attr(KEY, asdict(replace(driver, time=time.time() - 3600)))
    assert json.loads(status(toy_workspace.folder, "--json"))["driver"] == SweepStatus.UNKNOWN


def test_another_storage_is_found_through_the_record(toy_workspace: Workspace, tmp_path: Path, status: Status) -> None:
    storage = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    make_study(toy_workspace, storage)
    write_json(toy_workspace.path(RECORD), asdict(record(storage=storage)))
    assert json.loads(status(toy_workspace.folder, "--json"))["searches"][0]["study"] == STUDY
    write_json(toy_workspace.path(RECORD), asdict(record(storage="postgresql+psycopg://me:***@db/optuna")))
    assert "give the URL with --storage" in status(toy_workspace.folder, code=2)
    assert "41.25" in status(toy_workspace.folder, "--storage", storage)


def test_a_workspace_without_a_study_is_refused_with_a_hint_and_nothing_is_made(tmp_path: Path, status: Status) -> None:
    text = status(tmp_path / "nothing", code=2)
    assert "what to do:" in text and not (tmp_path / "nothing").exists()
    text = status(tmp_path, code=2)
    assert "has no study" in text and "experiments.sweep" in text and list(tmp_path.iterdir()) == []
    (tmp_path / "optuna.db").write_bytes(b"no database at all" * 100)
    assert "what to do:" in status(tmp_path, code=2)


def test_it_starts_fast_because_it_imports_little() -> None:
    code = "import sys, experiments.status, experiments.tracking.sweep_state\n"
    code += "import experiments.compare, experiments.tracking.comparison\n"
    code += "print([name for name in ('torch', 'ray', 'mlflow', 'sklearn', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_the_record_holds_how_a_sweep_ended(tmp_path: Path) -> None:
    with recorded(tmp_path, made := record()) as states:
        assert read_record(tmp_path) == made
        states.append(SweepStatus.INTERRUPTED)
    ended = read_record(tmp_path)
    assert ended is not None and ended.state == SweepStatus.INTERRUPTED and ended.ended is not None
    with pytest.raises(UserError), recorded(tmp_path, record()):
        raise UserError("the disk is full", hint="free some space")
    failed = read_record(tmp_path)
    assert failed is not None and (failed.state, failed.error) == (SweepStatus.FAILED, "the disk is full")
    (tmp_path / RECORD).write_text('{"from": "another version"}')
    assert read_record(tmp_path) is None
