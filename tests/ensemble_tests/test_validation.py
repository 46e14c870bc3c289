from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.metrics import constant_floor, group_standard_error, smape, smape_terms
from ensemble.candidates import BOOSTER, MEAN, SIMPLEX_LOG, SINGLE, candidate_names, fit_candidates
from ensemble.validation import INNER_BOOSTERS, OUTER_BOOSTERS, Comparison, choose, compare, make_blocks, validate
from tests.ensemble_tests.toys import matrix, members


def comparison(name: str, difference: float, error: float) -> Comparison:
    return Comparison(name, 40.0 + difference, 1.0, difference, error)


def test_simplest_within_one_standard_error_is_chosen() -> None:
    assert choose([comparison("a", 3.0, 0.2), comparison("b", 0.1, 0.2), comparison("c", 0.0, 0.0)]) == "b"
    assert choose([comparison("a", 3.0, 0.2), comparison("b", 0.3, 0.2), comparison("c", 0.0, 0.0)]) == "c"
    assert choose([comparison("a", 0.0, 0.0), comparison("b", 0.1, 0.9)]) == "a"


def test_differences_are_paired_and_clustered() -> None:
    oof, prices = members(60, 2)
    groups = np.arange(60) // 3
    first, second = compare(prices, {"x": oof[:, 0], "y": oof[:, 1]}, groups)
    apart = smape_terms(prices, oof[:, 0]) - smape_terms(prices, oof[:, 1])
    worse = first if first.smape > second.smape else second
    assert worse.difference == pytest.approx(abs(apart.mean()))
    assert worse.difference_error == pytest.approx(group_standard_error(apart, groups))


def test_candidates_depend_on_what_is_there() -> None:
    assert candidate_names(1, 1000) == (SINGLE, BOOSTER)
    assert candidate_names(1, 50) == (SINGLE,)
    assert candidate_names(3, 50)[-1] != BOOSTER
    assert candidate_names(3, 1000)[:2] == (SINGLE, MEAN)


def test_true_prices_of_a_block_have_no_say_in_its_nested_prices() -> None:
    oof, prices = members(300, 4)
    before = matrix(oof, prices)
    inside = before.folds == 2
    changed = prices.copy()
    changed[inside] = changed[inside][::-1] * 7
    assert np.array_equal(validate(before).nested[inside], validate(replace(before, prices=changed)).nested[inside])


def test_equals_nested_cross_validation_written_out() -> None:
    oof, prices = members(400, 3, seed=5)
    data = matrix(oof, prices)
    names = candidate_names(3, 240)
    found = validate(data)
    for a in range(5):
        outside = data.folds != a
        inner = {name: np.full(400, np.nan) for name in names}
        for b in set(range(5)) - {a}:
            rows = outside & (data.folds != b)
            fitted = fit_candidates(oof[rows], prices[rows], names, range(INNER_BOOSTERS))
            for name in names:
                inner[name][data.folds == b] = fitted[name].predict(oof[data.folds == b])
        choice = choose(compare(prices[outside], {n: p[outside] for n, p in inner.items()}, data.groups[outside]))
        combination = fit_candidates(oof[outside], prices[outside], names, range(OUTER_BOOSTERS))[choice]
        assert found.fold_choices[a] == choice
        assert found.nested[~outside] == pytest.approx(combination.predict(oof[~outside]))


@pytest.mark.parametrize("seed", range(2))
def test_noise_is_not_better_than_the_constant_floor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(2.6, 1.0, 400))
    noise = np.exp(rng.normal(2.6, 1.0, (400, 12)))
    found = validate(matrix(noise, prices), seed)
    assert smape(prices, found.nested) > constant_floor(prices)[1]


def test_figure_is_that_of_fresh_rows_and_optimism_shows_the_in_sample_one() -> None:
    """Many members on few rows: weights and choice fit the noise, and only the nested figure does not believe it."""
    nested, in_sample, fresh = [], [], []
    for seed in range(4):
        oof, prices = members(2160, 25, seed, spread=(0.3, 1.5))
        found = validate(matrix(oof[:160], prices[:160]), seed)
        nested.append(smape(prices[:160], found.nested))
        in_sample.append(smape(prices[:160], found.in_sample))
        fresh.append(smape(prices[160:], found.final.predict(oof[160:])))
    assert abs(np.mean(nested) - np.mean(fresh)) < 1.5
    assert np.mean(nested) > np.mean(in_sample) + 1


def test_booster_is_taken_where_it_is_much_better() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 1500))
    good = rng.random(1500) < 0.5
    oof = np.column_stack([prices * np.where(good, 1.0, 3.0), prices * np.where(good, 1.0, 3.3)])
    found = validate(matrix(oof * np.exp(rng.normal(0, 0.05, oof.shape)), prices))
    assert found.choice == BOOSTER


def test_noisy_copies_get_the_simple_answer() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 300))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (300, 4)))
    assert validate(matrix(oof, prices)).choice in (MEAN, SIMPLEX_LOG)


@pytest.mark.parametrize("folds", [1, 2, 3, 5, 10])
def test_any_number_of_folds(folds: int) -> None:
    oof, prices = members(200, 2)
    found = validate(matrix(oof, prices, folds=folds))
    assert np.isfinite(found.nested).all()
    assert (found.nested > 0).all()


def test_ten_rows_and_one_member() -> None:
    oof, prices = members(10, 1)
    told: list[tuple[int, int]] = []
    found = validate(matrix(oof, prices), tell=lambda done, total: told.append((done, total)))
    assert told == [(done, 15) for done in range(1, 16)]
    assert found.choice == SINGLE
    assert np.array_equal(found.nested, oof[:, 0])


@pytest.mark.parametrize("folds", [1, 2, 7, 10])
def test_blocks_keep_groups_whole(folds: int) -> None:
    groups = np.random.default_rng(0).integers(0, 30, 200)
    blocks = make_blocks(groups % folds, groups, seed=0)
    assert set(blocks) == set(range(5))
    assert all(len(set(blocks[groups == group])) == 1 for group in set(groups))
