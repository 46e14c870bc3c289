"""The report's sentences and the next step they suggest."""

from __future__ import annotations

from typing import Any

import pytest

from core.formatting import figure_text
from reports.figures.overview import next_step, overview, sentence, shift_sentence

FLOOR = {"price": 12.0, "smape": 60.0}


def member(name: str, score: float, architecture: str = "text", notes: tuple[str, ...] = ()) -> dict[str, Any]:
    figures = {"smape": score, "standard_error": 0.5, "interval": None}
    return {"id": name, "label": name, "architecture": architecture, "notes": list(notes), **figures}


def content(members: list[dict[str, Any]], nested: float | None = None, **more: Any) -> dict[str, Any]:
    clean_members: dict[str, Any] | None = (
        {"kind": "member", "name": members[0]["label"], **members[0]} if members else None
    )
    if nested is not None:
        clean_members = {
            "kind": "stack",
            "name": "simplex log",
            "smape": nested,
            "standard_error": 0.4,
            "interval": [39.0, 41.0],
        }
    stack = None if nested is None else {"missing": [], "optimism": 0.3}
    whole = {"floor": FLOOR, "honest": clean_members, "members": members, "stack": stack, "sweep": None}
    data = {"pictures": None, "shift": None, "strengths": [], "rows": {"train": 1000}}
    doubts = {"leaks": {"notes": [], "too_good": []}, "labels": {"suggested": 0}}
    return {**whole, "data": {**data, **more.pop("data", {})}, **doubts, **more}


def test_the_stack_is_compared_with_floor_and_best_member() -> None:
    text = sentence(content([member("text-1", 42.0), member("text-2", 50.0)], nested=40.0))
    assert text == (
        "The stack (simplex log) has SMAPE 40.00 ± 0.40 on rows it has not seen (39.00 to 41.00 in 95% of bootstraps over "
        "products), 20.00 points better than the best constant price (60.00) and 2.00 better than the best single member, "
        "text-1 (42.00 ± 0.50)."
    )


@pytest.mark.parametrize(
    ("nested", "words"), [(43.0, "1.00 worse than"), (42.001, "as good as"), (41.0, "1.00 better than")]
)
def test_worse_is_called_worse(nested: float, words: str) -> None:
    assert f"and {words} the best single member" in sentence(content([member("text-1", 42.0)], nested))


def test_a_member_worse_than_the_floor_is_called_so() -> None:
    assert "10.00 points worse than the best constant price" in sentence(content([member("text-1", 70.0)]))


def test_an_unknown_standard_error_is_left_out() -> None:
    assert figure_text({"smape": 12.345, "standard_error": None}) == "12.35"


@pytest.mark.parametrize(
    ("found", "command"),
    [
        (content([]), "python -m experiments.sweep --workspace 'my runs'"),
        (content([member("a-1", 40.0)]), "python -m ensemble.stack --workspace 'my runs'"),
        (content([member("a-1", 40.0)], 39.0, stack={"missing": ["a-1"]}), "python -m ensemble.stack --workspace 'my runs'"),
        (content([member("a-1", 40.0)], 39.0), "python -m experiments.sweep lexical boosted --workspace 'my runs'"),
        (
            content([member("a-1", 40.0)], 39.0, data={"pictures": "images"}),
            "python -m experiments.sweep multimodal lexical boosted --workspace 'my runs'",
        ),
        (
            content(
                [member("l", 40.0, "lexical"), member("t", 41.0, "text"), member("b", 42.0, "boosted")],
                39.0,
                sweep={"trials": [{"architecture": "lexical"}] * 7 + [{"architecture": "text"}] * 9},
            ),
            "python -m experiments.sweep lexical --workspace 'my runs' --trials 14",
        ),
    ],
)  # fmt: skip
def test_the_next_step_follows_from_what_is_missing(found: dict[str, Any], command: str) -> None:
    assert next_step(found, "my runs")["command"] == command


def test_a_note_is_reported_once_with_all_its_architectures() -> None:
    members = [
        member("t", 40.0, "text", ("tiny",)),
        member("m", 41.0, "multimodal", ("tiny",)),
        member("u", 42.0, "text", ("tiny",)),
    ]
    assert overview(content(members), "runs")["choices"] == [{"architectures": ["text", "multimodal"], "note": "tiny"}]


def test_warnings_name_their_section() -> None:
    trusted = content([member("t", 40.0)], 39.0)
    assert overview(trusted, "runs")["warnings"] == []
    doubted = content(
        [member("t", 40.0)],
        39.0,
        stack={"missing": [], "optimism": 2.5},
        leaks={"notes": ["possible leak: ids"], "too_good": [{"id": "x"}]},
        labels={"suggested": 30},
        data={"shift": {"auc": 0.9}, "strengths": [{"name": "code", "share": 0.95, "suspicious": True}]},
    )
    found = overview(doubted, "runs")
    assert [each["place"] for each in found["warnings"]] == ["doubts", "doubts", "doubts", "data", "doubts", "stack"]
    assert "2.50 points better in-sample" in found["warnings"][-1]["text"]
    assert "may not hold" in found["shift"]


@pytest.mark.parametrize(("auc", "words"), [(0.5, "they are alike"), (0.7, "differ somewhat"), (0.8, "differ clearly")])
def test_an_auc_is_put_into_words(auc: float, words: str) -> None:
    assert words in shift_sentence({"auc": auc})


def test_with_few_rows_no_network_is_suggested() -> None:
    found = content([member("l", 40.0, "lexical")], 39.0, data={"rows": {"train": 200}})
    assert next_step(found, "runs")["command"] == "python -m experiments.sweep boosted --workspace runs"
