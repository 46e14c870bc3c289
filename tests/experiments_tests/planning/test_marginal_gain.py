"""Gain of a member to the stack and the step that is taken: diversity counts, noise does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.metrics import smape_of_logs
from experiments.planning.marginal_gain import (
    FADING,
    MemberSource,
    NextStep,
    StepKind,
    gains,
    next_step,
    shrunk_gain,
    stack_smape,
)

ROWS = 600
PARTED = np.arange(ROWS) % 3


def noise(seed: int, scale: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, scale, ROWS)


def test_a_worse_member_that_errs_elsewhere_is_worth_more_than_a_better_one_that_errs_alike() -> None:
    present = noise(0, 0.3)
    alike, elsewhere = present + noise(1, 0.02), noise(2, 0.35)
    assert smape_of_logs(elsewhere) > smape_of_logs(alike)
    (first, second), _ = gains(present[:, None], np.column_stack([alike, elsewhere]), PARTED)
    assert second > 2.0 and abs(first) < 0.2


def test_a_gain_is_what_the_stack_loses() -> None:
    present, other = noise(0, 0.3), noise(1, 0.3)
    ((gain,), _) = gains(present[:, None], other[:, None], PARTED)
    assert gain == pytest.approx(smape_of_logs(present) - stack_smape(np.column_stack([present, other])), abs=0.3)


def test_copies_and_noise_are_worth_nothing() -> None:
    present = np.column_stack([noise(0, 0.3), noise(1, 0.3)])
    useless = np.column_stack([present[:, 0], noise(2, 3.0), noise(3, 3.0) + 2.0])
    assert np.abs(gains(present, useless, PARTED)[0]).max() < 0.15


def test_the_error_of_a_gain_is_how_far_it_varies_from_one_holdout_fold_to_another() -> None:
    found = [gains(noise(seed, 0.3)[:, None], noise(1_000 + seed, 0.3)[:, None], PARTED) for seed in range(0, 400, 4)]
    assert np.std([gain for gain, _ in found]) == pytest.approx(np.mean([error for _, error in found]), rel=0.25)


@given(st.floats(-5, 5), st.floats(1e-3, 10), st.floats(1e-3, 5))
def test_a_measured_gain_is_believed_the_less_the_less_is_known(gain: float, error: float, prior: float) -> None:
    shrunk = shrunk_gain(gain, error, prior)
    assert min(gain, prior) - 1e-9 <= shrunk <= max(gain, prior) + 1e-9
    assert abs(shrunk - gain) <= abs(shrunk_gain(gain, 2 * error, prior) - gain) + 1e-9
    assert shrunk_gain(gain, 0.0, prior) == pytest.approx(gain)
    assert shrunk_gain(gain, np.inf, prior) == pytest.approx(prior)


def test_nothing_is_known_of_gains_on_one_product_or_of_a_stack_without_error() -> None:
    gain, error = gains(noise(0, 0.3)[:, None], noise(1, 0.3)[:, None], np.zeros(ROWS, dtype=np.int64))
    assert (gain == 0).all() and np.isinf(error).all()
    assert shrunk_gain(0.0, 0.0, 0.0) == 0.0


def candidate(name: str, gain: float, work: float = 10.0) -> NextStep:
    return NextStep(StepKind.MEMBER, name, "lexical", gain, work, wall=work)


def source(name: str, prior: float, *seen: float, work: float = 12.0) -> MemberSource:
    return MemberSource(name, prior, seen, work, work)


def chosen(
    candidates: list[NextStep], sources: Sequence[MemberSource] = (), left: float = 1000.0
) -> tuple[StepKind, str] | None:
    step = next_step(candidates, sources, left)
    return None if step is None else (step.kind, step.name)


def test_the_step_of_the_highest_gain_per_second_is_taken() -> None:
    steps = [candidate("dear", 0.5, work=100.0), candidate("cheap", 0.1, work=10.0)]
    assert chosen(steps) == (StepKind.MEMBER, "cheap")


def test_a_search_goes_on_while_it_is_expected_to_find_better_than_what_is_at_hand() -> None:
    poor, good = candidate("a", 0.01), candidate("b", 0.3)
    assert chosen([poor], [source("lexical", 0.2, 0.01)]) == (StepKind.CANDIDATE, "lexical")
    assert chosen([poor, good], [source("lexical", 0.2, 0.01, 0.3)]) == (StepKind.MEMBER, "b")


def test_an_architecture_that_keeps_disappointing_gives_way_to_another() -> None:
    other = source("text", 0.2, 0.0, work=24.0)
    assert chosen([], [source("lexical", 0.2, *[0.0] * 3), other]) == (StepKind.CANDIDATE, "lexical")
    assert chosen([], [source("lexical", 0.2, *[0.0] * 6), other]) == (StepKind.CANDIDATE, "text")


def test_a_candidate_that_would_not_fit_any_more_goes_first_if_it_brings_more_than_all_that_would_follow() -> None:
    cheap, dear = candidate("cheap", 0.1, work=10.0), candidate("dear", 0.5, work=100.0)
    assert cheap.gain / (1.0 - FADING) < dear.gain
    assert chosen([cheap, dear], left=105.0) == (StepKind.MEMBER, "dear")
    assert chosen([cheap, candidate("dear", 0.15, work=100.0)], left=105.0) == (StepKind.MEMBER, "cheap")


def test_a_candidate_without_gain_is_no_member() -> None:
    assert chosen([candidate("a", 0.0), candidate("b", -0.2)]) is None


CANDIDATES = st.builds(candidate, st.text("ab", min_size=1), st.floats(-1.0, 1.0), st.floats(0.0, 100.0))
SOURCES = st.builds(source, st.sampled_from(["lexical", "text"]), st.floats(0.0, 1.0), st.floats(-1.0, 1.0))


@given(st.lists(CANDIDATES, max_size=5), st.lists(SOURCES, max_size=3), st.floats(0.0, 120.0))
def test_whatever_is_taken_fits_and_gains(candidates: list[NextStep], sources: list[MemberSource], left: float) -> None:
    step = next_step(candidates, sources, left)
    fitting = [each for each in candidates if each.gain > 0 and each.wall <= left]
    if step is None:
        assert not fitting
    else:
        assert step.wall <= left and step.gain > 0


@given(st.lists(st.floats(-1.0, 1.0), max_size=6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_a_source_is_expected_to_bring_is_never_less_than_what_is_at_hand(
    seen: list[float], prior: float, at_hand: float
) -> None:
    expected = source("lexical", prior, *seen).expected(at_hand)
    assert at_hand - 1e-12 <= expected <= max([prior, at_hand, *seen]) + 1e-12
