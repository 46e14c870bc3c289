"""Worker processes: their answers, and the service when they die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.catalog import Catalog
from serving.bundle.predictor import Predictor
from serving.engine.process_worker import BatchComputer, Failure, ProcessLost, Worker, WorkerBatch, stated_fields
from tests.errors import refused

TEXTS = ["Item Name: ACME Jam, 9 oz (Pack of 6)\nValue: 54.0\nUnit: Ounce\n", "Item Name: nut", ""]
BATCH = WorkerBatch(TEXTS, [""] * 3, None)


def test_prices_are_the_bundles(exported: Path) -> None:
    answers = BatchComputer(exported).compute(replace(BATCH, fields=True))
    expected = Predictor(exported).predict(Catalog(*np.array([["0", "1", "2"], TEXTS, [""] * 3], dtype=object)))
    assert isinstance(answers, list)
    np.testing.assert_allclose([each.price for each in answers], expected.prices)
    assert [each.level for each in answers] == ["stack"] * 3
    assert all(each.low <= each.price <= each.high for each in answers)
    assert answers[0].members == expected.members
    assert (answers[0].unit, answers[0].brand) == ("ounce", "acme")
    assert answers[0].read["total_g"] == pytest.approx(54 * 28.3495, rel=0.01)
    assert answers[2].read == {}


def test_an_unexpected_error_is_a_failure_and_the_process_goes_on(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = BatchComputer(exported)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", fail)
        assert computer.compute(BATCH) == Failure("RuntimeError")
    assert isinstance(computer.compute(BATCH), list)


@pytest.fixture
def worker(exported: Path) -> Iterator[Worker]:
    """A process that has loaded the bundle."""
    found = Worker(exported, 1, None)
    found.wait_ready(60)
    yield found
    found.stop()


def test_a_process_answers_and_ends(worker: Worker) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which lets it finish
        os.kill(worker.pid or 0, number)
    answers = worker.ask(BATCH, 60)
    assert isinstance(answers, list) and len(answers) == 3


@pytest.mark.parametrize("end", ["while it loads", "while it refuses", "with an answer unread"])
def test_a_process_whose_service_ends_leaves_no_traceback(
    exported: Path, capfd: pytest.CaptureFixture[str], end: str
) -> None:
    if end == "while it refuses":
        (exported / "bundle.json").write_text("{}")
    worker = Worker(exported, 1, None)
    if end == "with an answer unread":
        assert worker._connection.poll(60)
    worker._connection.close()
    worker._process.join(60)
    assert worker._process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "seconds", "reason"),
    [(signal.SIGKILL, 60, "code -9"), (signal.SIGSTOP, 0.2, r"no answer within 0\.2 s")],
    ids=["killed", "hanging"],
)
def test_a_process_that_gives_no_answer_is_lost(
    worker: Worker, number: signal.Signals, seconds: float, reason: str
) -> None:
    os.kill(worker.pid or 0, number)
    with pytest.raises(ProcessLost, match=reason):
        worker.ask(BATCH, seconds)


def test_a_damaged_bundle_is_refused_in_a_sentence(exported: Path) -> None:
    (exported / "bundle.json").write_text("{}")
    worker = Worker(exported, 1, None)
    with refused("engine-process-refused"):
        worker.wait_ready(60)


def test_empty_fields_are_left_out() -> None:
    row = {"brand": "acme", "kind": "", "pack": 6.0, "age": np.nan, "total_g": np.float64(54)}
    assert stated_fields(row) == {"brand": "acme", "pack": 6.0, "total_g": 54.0}
