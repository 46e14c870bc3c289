"""One driver per study: a second one is refused, a dead one is followed, and one that was taken for dead writes no more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest

from experiments.search.lease import KEY, Driver, Lease, driver_of, lease
from experiments.search.storage import open_storage
from tests.errors import refused
from tests.experiments_tests.waiting import wait_for
from tests.paths import ROOT

DRIVER = """
import sys
from core.errors import UserError
from experiments.search.lease import lease
from experiments.search.storage import open_storage
storage = open_storage(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    with lease(storage, ["toy"]):
        print("driving", flush=True)
        sys.stdin.readline()
except UserError as error:
    print("refused", str(error).replace(chr(10), " "), flush=True)
    raise SystemExit(2)
"""


class Process:
    """Another driver: opens the storage, and takes the study when it is told to."""

    def __init__(self, text: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, text],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def driving(text: str) -> Process:
    """A process that is the study's driver."""
    found = Process(text)
    found.go()
    assert found.line() == "driving"
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.search.lease.BEAT", 0.2)
    monkeypatch.setattr("experiments.search.lease.EXPIRY", 3.0)


def driver(text: str) -> Driver | None:
    return driver_of(optuna.load_study(study_name="toy", storage=open_storage(text)).user_attrs)


def pretend(text: str, **facts: object) -> None:
    """A driver of another machine is in the study, as far as its attributes say."""
    search = optuna.create_study(storage=open_storage(text), study_name="toy", load_if_exists=True)
    mine = {"host": "elsewhere", "pid": 7, "machine": "another", "born": "1", "token": "t", "beat": 5, "time": 0.0}
    search.set_user_attr(KEY, {**mine, **facts})


def test_a_driver_shows_signs_of_life_and_leaves_no_trace(storage_text: str) -> None:
    with lease(open_storage(storage_text), ["toy", "other"], settle=0.0) as held:
        held.check()
        first = driver(storage_text)
        assert first is not None and first.is_here and not first.is_dead
        wait_for(lambda: (later := driver(storage_text)) is None or later.beat > first.beat, 20.0)
    assert driver(storage_text) is None
    assert sorted(optuna.get_all_study_names(open_storage(storage_text))) == ["other", "toy"]


def test_a_second_driver_is_refused_and_told_of_the_first(storage_text: str) -> None:
    first = driving(storage_text)
    with refused("study-driven") as caught:
        Lease(open_storage(storage_text)).take("toy")
    sign = rf"toy is being driven by process {first.process.pid} on .*, which gave its last sign of life \d+ s ago"
    assert re.match(sign, caught.value.what)
    for words in (f"kill {first.process.pid}", "run the same command again", "--fresh"):
        assert words in caught.value.hint
    still = driver(storage_text)
    assert still is not None and still.pid == first.process.pid
    first.go()
    assert first.process.wait(30) == 0
    with lease(open_storage(storage_text), ["toy"], settle=0.0):
        pass


def test_two_that_start_together_cannot_both_win(storage_text: str) -> None:
    for _ in range(2):
        pair = [Process(storage_text) for _ in range(2)]
        for each in pair:
            each.go()
        assert sorted(each.line().partition(" ")[0] for each in pair) == ["driving", "refused"]
        for each in pair:
            each.process.kill()
            each.process.wait()


@pytest.mark.parametrize("reaped", [True, False])
def test_after_kill_9_the_next_driver_takes_over_at_once(
    storage_text: str, monkeypatch: pytest.MonkeyPatch, reaped: bool
) -> None:
    """Also while nobody has asked how the killed process ended."""
    monkeypatch.setattr("experiments.search.lease.EXPIRY", 60.0)
    first = driving(storage_text)
    first.process.kill()
    os.waitid(os.P_PID, first.process.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
    storage = open_storage(storage_text)
    began = time.monotonic()
    with lease(storage, ["toy"], settle=0.0):
        assert time.monotonic() - began < 30.0
    first.process.wait()


def test_a_silent_driver_of_another_machine_is_waited_for_and_followed(
    storage_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its clock says nothing: it may be years behind or ahead."""
    pretend(storage_text, time=time.time() + 1e8)
    with lease(open_storage(storage_text), ["toy"], settle=0.0):
        found = driver(storage_text)
        assert found is not None and found.is_here
    told = capsys.readouterr().out
    assert "last driven by process 7 on elsewhere; waiting up to 3 s" in told and "taken over" in told


def test_a_living_driver_of_another_machine_is_respected(storage_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.search.lease.EXPIRY", 60.0)
    pretend(storage_text, time=0.0)
    beat = threading.Timer(1.2, pretend, (storage_text,), {"beat": 6})
    beat.start()
    with refused("study-driven"):
        Lease(open_storage(storage_text)).take("toy")
    beat.join()
    found = driver(storage_text)
    assert found is not None and found.beat == 6


def test_a_driver_that_was_taken_for_dead_is_told_and_writes_no_more(storage_text: str) -> None:
    with lease(open_storage(storage_text), ["toy"], settle=0.0) as held:
        pretend(storage_text, token="other")
        deadline = time.monotonic() + 20.0
        with refused("study-lease-lost"):
            while time.monotonic() < deadline:
                held.check()
                time.sleep(0.02)
    found = driver(storage_text)
    assert found is not None and found.token == "other", "the new driver's lease is not released by the old one"


def test_a_driver_that_slept_looks_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a laptop's lid was closed: its thread has not looked yet when the driver wants to write."""
    monkeypatch.setattr("experiments.search.lease.BEAT", 3600.0)
    text = f"sqlite:///{tmp_path}/study.db"
    with lease(open_storage(text), ["toy"], settle=0.0) as held:
        held.check()
        pretend(text, token="other")
        monkeypatch.setattr("experiments.search.lease.EXPIRY", 0.0)
        with refused("study-lease-lost"):
            held.check()


def test_a_study_without_a_driver_starts_quickly(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=storage, study_name="toy")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        with lease(storage, ["toy"], settle=0.0):
            times.append(time.perf_counter() - began)
    assert min(times) < 0.1
