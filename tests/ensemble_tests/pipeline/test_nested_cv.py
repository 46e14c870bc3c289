from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.metrics import constant_floor, smape
from ensemble.methods.combination import CombinationProblem
from ensemble.methods.method_registry import BLEND, METHODS, fit_methods
from ensemble.pipeline.final_pipeline import EvaluationRows, conclude
from ensemble.pipeline.nested_cv import INNER_BOOSTERS, MANY_ROWS, OUTER_BOOSTERS, make_blocks, validate
from tests.ensemble_tests.toys import matrix, members, rows
from tests.errors import refused

SIMPLE = ("single", "geometric", "simplex-log", "simplex-price")
BOOSTED = ("residual", "lightgbm-l1", "lightgbm-huber", "lightgbm-smape", "quantiles", BLEND)


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
    names = ("single", "simplex-log", "residual", BLEND)

    def problem(inside: np.ndarray, boosters: int) -> CombinationProblem:
        return CombinationProblem(rows(oof[inside]), prices[inside], data.groups[inside], range(boosters))

    found = validate(data, methods=names, steps=())
    for a in range(5):
        outside = data.folds != a
        inner = {name: np.full(400, np.nan) for name in names[:-1]}
        for b in set(range(5)) - {a}:
            fitted = fit_methods(names, problem(outside & (data.folds != b), INNER_BOOSTERS))
            for name, each in fitted.items():
                inner[name][data.folds == b] = each.predict(rows(oof[data.folds == b]))
        evaluation_rows = EvaluationRows(prices[outside], rows(oof[outside]), data.folds[outside], data.groups[outside])
        recipe = conclude(
            {n: p[outside] for n, p in inner.items()}, evaluation_rows, blend=True, steps=(), seed=0
        ).recipe
        fitted = fit_methods(names, problem(outside, OUTER_BOOSTERS))
        left = rows(oof[~outside])
        expected = recipe.apply({name: each.predict(left) for name, each in fitted.items()}, left)
        assert found.fold_choices[a] == recipe.name
        assert found.nested[~outside] == pytest.approx(expected)


def test_many_rows_are_scored_by_neighbouring_blocks_and_stay_nested() -> None:
    oof, prices = members(MANY_ROWS, 2)
    before = matrix(oof, prices)
    reported: list[tuple[int, int]] = []
    names = ("single", "simplex-log", BLEND)
    found = validate(before, methods=names, report=lambda done, total: reported.append((done, total)))
    assert reported == [(done, 17) for done in range(1, 18)]
    inside = before.folds == 2
    changed = prices.copy()
    changed[inside] = changed[inside][::-1] * 7
    again = validate(replace(before, prices=changed), methods=names)
    assert np.array_equal(found.nested[inside], again.nested[inside])


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
        fresh.append(smape(prices[160:], found.final.predict(rows(oof[160:]))))
    assert abs(np.mean(nested) - np.mean(fresh)) < 1.5
    assert np.mean(nested) > np.mean(in_sample) + 1


def test_booster_is_taken_where_it_is_much_better() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 1500))
    good = rng.random(1500) < 0.5
    oof = np.column_stack([prices * np.where(good, 1.0, 3.0), prices * np.where(good, 1.0, 3.3)])
    found = validate(matrix(oof * np.exp(rng.normal(0, 0.05, oof.shape)), prices))
    assert found.choice in BOOSTED


def test_noisy_copies_get_the_simple_answer() -> None:
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(2.6, 1.0, 300))
    oof = prices[:, None] * np.exp(rng.normal(0, 0.3, (300, 4)))
    assert validate(matrix(oof, prices)).choice in set(METHODS) - {"single", *BOOSTED}


@pytest.mark.parametrize("folds", [1, 2, 3, 5, 10])
def test_any_number_of_folds(folds: int) -> None:
    oof, prices = members(200, 2)
    found = validate(matrix(oof, prices, folds=folds))
    assert np.isfinite(found.nested).all()
    assert (found.nested > 0).all()


def test_ten_rows_and_one_member() -> None:
    oof, prices = members(10, 1)
    reported: list[tuple[int, int]] = []
    found = validate(matrix(oof, prices), report=lambda done, total: reported.append((done, total)))
    assert reported == [(done, 22) for done in range(1, 23)]
    assert found.choice == "single"
    assert np.array_equal(found.nested, oof[:, 0])


@pytest.mark.parametrize("folds", [1, 2, 7, 10])
def test_blocks_keep_groups_whole(folds: int) -> None:
    groups = np.random.default_rng(0).integers(0, 30, 200)
    blocks = make_blocks(groups % folds, groups, seed=0)
    assert set(blocks) == set(range(5))
    assert all(len(set(blocks[groups == group])) == 1 for group in set(groups))


@pytest.mark.parametrize(("rows", "tried"), [(370, 0), (375, 3)])
def test_steps_are_tried_where_every_choice_has_rows_enough(rows: int, tried: int) -> None:
    oof, prices = members(rows, 2)
    assert len(validate(matrix(oof, prices), methods=["mean"]).conclusion.steps) == tried


@pytest.mark.parametrize("folds", [2, 3, 4, 5])
def test_as_many_groups_as_folds(folds: int) -> None:
    oof, prices = members(400, 3)
    groups = np.arange(400, dtype=np.int64) % max(folds, 3)
    found = validate(matrix(oof, prices, groups=groups, folds=folds))
    assert np.isfinite(found.nested).all()
    # a booster cannot leave a fifth of the groups out
    assert not {"residual", "lightgbm-smape"} & set(found.candidates)


def test_a_group_of_nearly_all_rows() -> None:
    oof, prices = members(400, 3)
    groups = np.maximum(np.arange(400, dtype=np.int64) - 360, 0)
    assert np.isfinite(validate(matrix(oof, prices, groups=groups)).nested).all()


def test_two_groups_are_too_few() -> None:
    oof, prices = members(40, 2)
    with refused("stack-too-few-groups"):
        validate(matrix(oof, prices, groups=np.arange(40, dtype=np.int64) % 2, folds=2))


@pytest.fixture(scope="module")
def usual() -> float:
    """The nested SMAPE without an absurd price."""
    oof, prices = members(300, 3)
    return smape(prices, validate(matrix(oof, prices)).nested)


@pytest.mark.parametrize("absurd", [1e-90, 1e12, 1e43, 1e90])
def test_an_absurd_price_is_outvoted(absurd: float, usual: float) -> None:
    oof, prices = members(300, 3)
    oof[5, 1] = absurd
    assert smape(prices, validate(matrix(oof, prices)).nested) < usual + 1.5
