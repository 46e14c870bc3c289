"""The dashboards as servers that are really asked."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import optuna
import pytest

from core.store.workspace import Workspace
from experiments.dashboard import answers, free_port, optuna_dashboard
from experiments.tracking.mlflow_log import RunLog
from experiments.tracking.sweep_record import open_studies
from tests.commands import Start
from tests.errors import refused
from tests.experiments_tests.waiting import wait_for


@pytest.fixture
def filled(toy_workspace: Workspace) -> Workspace:
    optuna.create_study(storage=f"sqlite:///{toy_workspace.path('optuna.db')}", study_name="text-1a2b")
    return toy_workspace


def test_the_optuna_dashboard_serves_the_studies_until_it_is_left(filled: Workspace) -> None:
    port = free_port(18080)
    with optuna_dashboard(open_studies(filled.folder, None), port) as url:
        with urllib.request.urlopen(f"{url}/api/studies", timeout=30) as answer:
            studies = json.load(answer)["study_summaries"]
        assert [study["study_name"] for study in studies] == ["text-1a2b"]
    assert not answers(port)


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port
    with refused("dashboard-no-port"):
        free_port(65536)


@pytest.mark.faults
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_starts_both_and_ends_both(filled: Workspace, start: Start, end: signal.Signals) -> None:
    with RunLog(filled, {}, {}):
        pass
    ports = free_port(18090), free_port(15000)
    running = start(
        "experiments.dashboard", "--workspace", filled.folder, "--port", ports[0], "--mlflow-port", ports[1]
    )  # fmt: skip
    running.until("lead there")  # not MLflow's usual port
    assert all(
        f"http://127.0.0.1:{port}" in line for port, line in zip(ports, running.output.splitlines(), strict=False)
    )
    for port, path in zip(ports, ("/api/studies", "/health"), strict=True):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            assert answer.status == 200
    running.send(end)
    running.end()
    wait_for(lambda: not any(answers(port) for port in ports), 30.0)
