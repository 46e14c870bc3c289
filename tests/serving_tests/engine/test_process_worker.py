"""The computing process: what it answers, and what becomes of the service when it dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from core.data.catalog import Catalog
from serving.bundle.predictor import Predictor
from serving.engine.process_worker import BatchComputer, Failure, ProcessLost, Worker, WorkerBatch, stated_fields
from tests.errors import refused

TEXTS = ["Item Name: ACME Jam, 9 oz (Pack of 6)\nValue: 54.0\nUnit: Ounce\n", "Item Name: nut", ""]


def catalog() -> Catalog:
    columns = (np.array([*values], dtype=object) for values in (["0", "1", "2"], TEXTS, [""] * 3))
    return Catalog(*columns)


def test_prices_are_the_bundles(exported: Path) -> None:
    answers = BatchComputer(exported).compute(WorkerBatch(TEXTS, [""] * 3, None, fields=True))
    expected = Predictor(exported).predict(catalog())
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
        assert computer.compute(WorkerBatch(TEXTS, [""] * 3, None)) == Failure("RuntimeError")
    assert isinstance(computer.compute(WorkerBatch(TEXTS, [""] * 3, None)), list)


def test_a_process_answers_and_ends(exported: Path) -> None:
    worker = Worker(exported, 1, None)
    worker.wait_ready(60)
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which lets it finish
        os.kill(worker.pid or 0, number)
    answers = worker.ask(WorkerBatch(TEXTS, [""] * 3, None), 60)
    assert isinstance(answers, list) and len(answers) == 3
    worker.stop()


@pytest.mark.parametrize("damaged", [False, True])
def test_one_whose_service_ends_while_it_loads_ends_without_a_traceback(
    exported: Path, capfd: pytest.CaptureFixture[str], damaged: bool
) -> None:
    if damaged:
        (exported / "bundle.json").write_text("{}")
    worker = Worker(exported, 1, None)
    worker._connection.close()
    worker._process.join(60)
    assert worker._process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


def test_one_whose_service_leaves_an_answer_unread_ends_without_a_traceback(
    exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(exported, 1, None)
    assert worker._connection.poll(60)  # it is ready, and nobody reads so
    worker._connection.close()
    worker._process.join(60)
    assert worker._process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err


def test_a_killed_process_is_lost(exported: Path) -> None:
    worker = Worker(exported, 1, None)
    worker.wait_ready(60)
    os.kill(worker.pid or 0, signal.SIGKILL)
    with pytest.raises(ProcessLost, match="code -9"):
        worker.ask(WorkerBatch(TEXTS, [""] * 3, None), 60)
    worker.stop()


def test_a_process_that_hangs_is_given_up(exported: Path) -> None:
    worker = Worker(exported, 1, None)
    worker.wait_ready(60)
    os.kill(worker.pid or 0, signal.SIGSTOP)
    with pytest.raises(ProcessLost, match=r"no answer within 0\.2 s"):
        worker.ask(WorkerBatch(TEXTS, [""] * 3, None), 0.2)
    worker.stop()


def test_a_damaged_bundle_is_refused_in_a_sentence(exported: Path) -> None:
    (exported / "bundle.json").write_text("{}")
    worker = Worker(exported, 1, None)
    with refused("engine-process-refused"):
        worker.wait_ready(60)


def test_empty_fields_are_left_out() -> None:
    assert stated_fields({"brand": "acme", "kind": "", "pack": 6.0, "age": np.nan, "total_g": np.float64(54)}) == {
        "brand": "acme",
        "pack": 6.0,
        "total_g": 54.0,
    }
