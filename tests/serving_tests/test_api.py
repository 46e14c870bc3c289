"""The command, as a process: killed workers, SIGTERM, what it refuses to start with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from core import hardware
from serving import api
from tests.errors import refused
from tests.experiments_tests.waiting import free_port, wait_for
from tests.paths import ROOT

READY_SECONDS = 90
FREE = ("--limit", "burst=1000000000", "--limit", "requests_per_second=1000000000")
"""Flags that let one caller ask as fast as it can."""


def log_of(bundle: Path) -> Path:
    return bundle.parent / "service.log"


@contextmanager
def running(bundle: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service as a process, ready, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "serving.api", "--bundle", str(bundle), "--port", str(port), *flags]
    with log_of(bundle).open("w") as log:  # a pipe that nobody reads would be full after some hundred lines
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        try:
            wait_for(lambda: ready(address), READY_SECONDS, process)
        except AssertionError as error:
            raise AssertionError(log_of(bundle).read_text()) from error
        yield process, address
    finally:
        process.kill()
        process.wait()


def ready(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/ready", timeout=5)
    except OSError:
        return False
    return True


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def metric(address: str, name: str) -> float:
    text = urllib.request.urlopen(f"{address}/metrics", timeout=60).read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_killed_worker_loses_no_request_and_the_end_is_in_order(exported: Path) -> None:
    with running(exported, "--workers", "2", *FREE) as (process, address):
        with ThreadPoolExecutor(16) as pool:
            asked = [
                pool.submit(post, f"{address}/predict", {"catalog_content": f"Item Name: nut {n}"}) for n in range(300)
            ]
            next(as_completed(asked))  # one is answered, and many are not
            os.kill(workers_of(process)[0].pid, signal.SIGKILL)
            answers = [each.result() for each in asked]
        assert {answer["level"] for answer in answers} == {"stack"}
        wait_for(lambda: metric(address, "pricestack_worker_restarts") == 1.0, READY_SECONDS)
        assert "pricing on the processor" in log_of(exported).read_text()
        computed = metric(address, "pricestack_batch_rows_count")
        with ThreadPoolExecutor(4) as pool:
            rows = [{"catalog_content": f"Item Name: bolt {n}"} for n in range(300)]
            last = pool.submit(post, f"{address}/predict/batch", {"rows": rows})
            wait_for(lambda: metric(address, "pricestack_batch_rows_count") > computed, READY_SECONDS)
            process.send_signal(signal.SIGTERM)
            assert last.result()["priced"] == 300
        workers = workers_of(process)
        assert process.wait(60) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        psutil.wait_procs(workers, 10)
        assert not [worker for worker in workers if worker.is_running()]
    errors = log_of(exported).read_text()
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert any("was lost" in line["message"] for line in lines)
    assert "nut 7" not in errors and "Traceback" not in errors


def test_the_service_dies_and_its_workers_follow(exported: Path) -> None:
    with running(exported, "--workers", "1") as (process, _):
        workers = workers_of(process)
        process.kill()
        gone, alive = psutil.wait_procs(workers, 20)
    assert gone and not alive


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ([], "bundle-missing"),
        (["--host", "0.0.0.0"], "keys-needed"),
        (["--limit", "batch_row=3"], "config-unknown-setting"),
        (["--allow-image-urls", "not a host"], "config-bad-value"),
        (["--mlflow", "foo://bar"], "run-log-unwritable"),
    ],
)
def test_what_it_does_not_start_with(
    flags: list[str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with refused(code) as caught:
        CliRunner().invoke(api.app, ["--bundle", "absent", *flags, "--port", "0"], catch_exceptions=False)
    assert caught.value.hint


@pytest.mark.usefixtures("own_logging")
def test_a_gpu_that_is_not_there_ends_the_command(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hardware, "cuda_gpus", lambda: 0)
    flags = ["--bundle", str(exported), "--device", "cuda", "--port", "0"]
    with refused("gpu-missing"):
        CliRunner().invoke(api.app, flags, catch_exceptions=False)


@pytest.mark.usefixtures("own_logging")
def test_a_taken_port_is_refused_before_the_bundle_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other, refused("listen-port-taken"):
        flags = ["--bundle", "absent", "--port", str(other.getsockname()[1])]
        CliRunner().invoke(api.app, flags, catch_exceptions=False)


@pytest.mark.usefixtures("own_logging")
def test_a_level_that_is_none_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(api.app, ["--bundle", "absent", "--log-level", "loud"])
    assert result.exit_code == 2
    assert all(level in result.output for level in ("loud", "debug", "info", "warning", "error"))
