"""The dashboards as servers that are really asked."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import optuna
import pytest

from core.store.workspace import Workspace
from experiments.dashboard import answers, free_port, optuna_dashboard
from experiments.tracking.mlflow_log import RunLog
from experiments.tracking.sweep_record import open_studies
from tests.errors import refused
from tests.paths import ROOT


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
def test_the_command_starts_both_and_ends_both(filled: Workspace, end: signal.Signals) -> None:
    with RunLog(filled, {}, {}):
        pass
    ports = free_port(18090), free_port(15000)
    command = [sys.executable, "-m", "experiments.dashboard", "--workspace", str(filled.folder)]
    command += ["--port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert f"http://127.0.0.1:{ports[0]}" in lines[0] and f"http://127.0.0.1:{ports[1]}" in lines[1]
        assert "lead there" in lines[2]  # not MLflow's usual port
        for port, path in zip(ports, ("/api/studies", "/health"), strict=True):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                assert answer.status == 200
        process.send_signal(end)
        assert process.wait(30) == 0
    deadline = time.monotonic() + 30
    while any(answers(port) for port in ports):
        assert time.monotonic() < deadline, "a server was left behind"
        time.sleep(0.1)
