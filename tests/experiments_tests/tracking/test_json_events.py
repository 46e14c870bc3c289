"""`--json`: one object per line, with the documented fields, whatever a training reports."""

from __future__ import annotations

import io
import json
from typing import Any

from experiments.common.jobs import Job, JobOutcome, StopReason
from experiments.tracking.json_events import Events
from tests.paths import ROOT

METRICS = {"smape": 41.0, "mae": 2.0, "rmse": 3.0, "r2": 0.5}
DOCUMENT = ROOT / "docs" / "watching.md"


def job(kind: Any) -> Job:
    return Job(
        kind, "text", "text-1a2b", {"loss": "huber"}, 2, 0, 1, "cpu", number=3, searched={"loss": "huber"}, epochs=4
    )


def written() -> list[dict[str, Any]]:
    """Every event that there is, once."""
    stream = io.StringIO()
    events = Events(stream)
    for kind in ("trial", "fit"):
        events.started(job(kind))
        events.epoch(job(kind), 1, {**METRICS, "loss": float("nan")})
        events.finished(job(kind), JobOutcome(METRICS, 4, 1.5))
        events.failed(job(kind), "MemoryError: too large\nTraceback ...", "out-of-memory")
    events.pruned(job("trial"), 2, 48.0, StopReason(2, 48.0, 45.5, 3, 4))
    record = {
        "architecture": "text",
        "metrics": METRICS,
        "seconds": 3.0,
        "standard_error": 0.5,
        "fold_smape": [40.0, 42.0],
    }
    events.member("text-1a2b", record)
    events.note("what three failures have in common")
    lines = stream.getvalue().splitlines()
    return [json.loads(line, parse_constant=lambda name: pytest_fail(name)) for line in lines]


def pytest_fail(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_every_event_is_one_line_of_strict_json_that_names_its_thing() -> None:
    lines = written()
    assert [line["event"] for line in lines] == [
        "trial_started", "epoch", "trial_finished", "trial_failed",
        "fold_started", "epoch", "fold_finished", "fold_failed", "trial_stopped", "member", "note",
    ]  # fmt: skip
    assert all(line["time"] > 1.7e9 for line in lines)
    started, epoch, finished, failed = lines[:4]
    assert started["searched"] == {"loss": "huber"} and started["epochs"] == 4
    assert (epoch["trial"], epoch["config"], epoch["epoch"], epoch["smape"]) == (3, "text-1a2b", 1, 41.0)
    assert epoch["loss"] is None  # it was NaN
    assert finished["state"] == "COMPLETE" and finished["mae"] == 2.0 and finished["seconds"] == 1.5
    assert (failed["state"], failed["code"]) == ("FAIL", "out-of-memory")
    assert failed["error"] == "MemoryError: too large" and "Traceback" in failed["details"]
    assert (lines[4]["member"], lines[4]["fold"]) == ("text-1a2b", 2) and "trial" not in lines[4]
    assert lines[8]["state"] == "PRUNED" and lines[9]["fold_smape"] == [40.0, 42.0]


def test_every_event_and_field_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for line in written():
        for name in (line["event"], *line):
            assert f"`{name}`" in text, f"{name} of {line['event']}"
