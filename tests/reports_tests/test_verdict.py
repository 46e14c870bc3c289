"""The report's sentences and the next step they suggest."""

from __future__ import annotations

from typing import Any

import pytest

from reports.verdict import figure_text, next_step, sentence, verdict

FLOOR = {"price": 12.0, "smape": 60.0}


def member(name: str, score: float, architecture: str = "text", notes: tuple[str, ...] = ()) -> dict[str, Any]:
    figures = {"smape": score, "standard_error": 0.5}
    return {"id": name, "label": name, "architecture": architecture, "notes": list(notes), **figures}


def content(members: list[dict[str, Any]], nested: float | None = None, **more: Any) -> dict[str, Any]:
    honest: dict[str, Any] | None = {"kind": "member", "name": members[0]["label"], **members[0]} if members else None
    if nested is not None:
        honest = {"kind": "stack", "name": "simplex log", "smape": nested, "standard_error": 0.4}
    stack = None if nested is None else {"missing": []}
    whole = {"floor": FLOOR, "honest": honest, "members": members, "stack": stack, "sweep": None}
    return {**whole, "data": {"pictures": None}, **more}


def test_the_stack_is_compared_with_floor_and_best_member() -> None:
    said = sentence(content([member("text-1", 42.0), member("text-2", 50.0)], nested=40.0))
    assert said == (
        "The stack (simplex log) has SMAPE 40.00 ± 0.40 on rows it has not seen, 20.00 points better than the best constant "
        "price (60.00) and 2.00 better than the best single member, text-1 (42.00 ± 0.50)."
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


def test_a_note_is_said_once_with_all_its_architectures() -> None:
    members = [
        member("t", 40.0, "text", ("tiny",)),
        member("m", 41.0, "multimodal", ("tiny",)),
        member("u", 42.0, "text", ("tiny",)),
    ]
    assert verdict(content(members), "runs")["choices"] == [{"architectures": ["text", "multimodal"], "note": "tiny"}]
