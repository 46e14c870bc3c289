"""Plan that `--dry-run` prints for a sweep with a time limit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.common.memory import MemoryBudget
from experiments.planning.budget import CLOSING_SECONDS, Budget, SweepLimits
from experiments.sweep_summary import START_SECONDS, forecast


def lines(seconds: dict[str, float], left: float, few: int | None = None) -> list[str]:
    budget = Budget(0.0, left + CLOSING_SECONDS + START_SECONDS, concurrent=2)
    return list(forecast(seconds, 5, SweepLimits(budget, MemoryBudget(None, {}), few), now=0.0))


def test_the_opening_comes_first_then_the_dear_ones_and_then_what_pays_most() -> None:
    plan = lines({"text": 15.0, "boosted": 6.0, "lexical": 4.0}, left=100.0)
    assert plan[0].startswith("100 s for trainings, 2 at once")
    assert plan[1].startswith(
        "1. lexical, its documented best as a member at once: 5 trainings, about 4 s a training, 12 s"
    )
    assert plan[2].startswith("2. boosted, its documented best")
    assert (
        plan[3] == "3. where their rate of gain is the highest: text (about 15 s a training; a member would take 45 s)"
    )
    # 100 - 12 - 18 s are left, and a lexical member takes 12 s and a quarter more.
    assert plan[4].endswith("70 s, enough for 4 more members of the cheapest kind")


def test_what_no_member_can_be_made_of_in_the_time_is_not_started() -> None:
    plan = lines({"multimodal": 60.0, "lexical": 4.0}, left=100.0)
    assert "not started: multimodal, about 60 s a training; a member of 5 would take 3 min" in plan


def test_with_few_rows_all_are_opened_and_other_seeds_follow() -> None:
    plan = lines({"boosted": 15.0, "lexical": 4.0}, left=100.0, few=3)
    assert plan[2].startswith("2. boosted, its documented best as a member at once")
    assert plan[3].startswith(
        "3. their other documented points, then the same with other seeds, until each has 3 members"
    )


TINY = ("--text-encoder", "tiny", "--vision-encoder", "tiny-vision")


@pytest.mark.parametrize(
    ("settings", "code", "allowed"),
    [
        ({"attention_heads": 5}, "attention-heads-do-not-divide", "1, 2, 4, 8, 16, 32"),
        ({"frozen_layers": 3}, "frozen-layers-too-many", "from 0 to 1"),
        ({"frozen_layers": 1, "lora_rank": 4}, "lora-nothing-to-learn", "lower frozen_layers"),
    ],
)
def test_settings_that_no_network_can_have_are_refused_before_anything_is_trained(
    settings: dict[str, int], code: str, allowed: str, toy_sweep: list[object], here: Callable[..., str]
) -> None:
    given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    for dry in (["--dry-run"], []):
        said = " ".join(here("multimodal", *toy_sweep, *TINY, *given, *dry, code=2).split())
        assert f"[{code}]" in said and allowed in said


def test_a_searched_value_that_no_network_can_have_is_refused_too(
    tmp_path: Path, toy_sweep: list[object], here: Callable[..., str]
) -> None:
    space = tmp_path / "heads.yaml"
    space.write_text(
        "values:\n  attention_heads: [8, 6]\n  learning_rate: [2.0e-3]\n"
        "best:\n  attention_heads: 8\n  learning_rate: 2.0e-3\n"
    )
    said = here("multimodal", *toy_sweep, *TINY, "--space", space, "--dry-run", code=2)
    assert "6 attention heads do not divide" in said and "[attention-heads-do-not-divide]" in said


def test_a_space_may_search_over_the_cross_attention(
    tmp_path: Path, toy_sweep: list[object], here: Callable[..., str]
) -> None:
    space = tmp_path / "attention.yaml"
    space.write_text(
        "values:\n  attention_heads: [2, 4, 8]\n  attention_depth: [1, 2, 3]\n  learning_rate: [2.0e-3]\n"
        "  attention_direction: [text_asks_picture, both, gated]\n"
        "best:\n  attention_heads: 8\n  attention_depth: 1\n  attention_direction: text_asks_picture\n"
        "  learning_rate: 2.0e-3\n"
    )
    plan = here("multimodal", *toy_sweep, *TINY, "--space", space, "--dry-run")
    assert re.search(r"attention\.yaml +27 ", plan) and "dry run: nothing was trained" in plan
